// Small matrix products on vectors, in register blocks. Sizes of results are known when compiling, their tails cut there.
#pragma once
#include "native_vec.h"

#if defined(__AVX512F__)
constexpr int REGISTERS = 32;
#else
constexpr int REGISTERS = 16;
#endif

// N things in COUNT nearly equal parts of at most MOST: BIGS of SMALL + 1, then the rest of SMALL.
template <int N, int MOST> struct Split {
  static constexpr int COUNT = (N + MOST - 1) / MOST, SMALL = N / COUNT, BIGS = N % COUNT;
  template <typename F> static INLINE void each(F&& visit) {  // visit(size as a constant, start)
    for (int i = 0; i < BIGS; i++) visit(std::integral_constant<int, SMALL + 1>(), i * (SMALL + 1));
    for (int i = BIGS; i < COUNT; i++) visit(std::integral_constant<int, SMALL>(), BIGS + i * SMALL);
  }
};

// finish(sum_k A(m, k) B[k][n] + bias[m], m, n) for MB rows m and NB vectors n.
template <int MB, int NB, typename F>
static INLINE void block(const T* A, int64_t am, int64_t ak, const T* B, int64_t bk, int K, const T* bias, F&& finish) {
  V acc[MB][NB];
#pragma GCC unroll 8
  for (int i = 0; i < MB; i++)
#pragma GCC unroll 8
    for (int j = 0; j < NB; j++) acc[i][j] = bias ? splat(bias[i]) : V{};
  for (int k = 0; k < K; k++) {
    V b[NB];
#pragma GCC unroll 8
    for (int j = 0; j < NB; j++) b[j] = loadu(B + k * bk + j * L);
#pragma GCC unroll 8
    for (int i = 0; i < MB; i++) {
      const T a = A[i * am + k * ak];
#pragma GCC unroll 8
      for (int j = 0; j < NB; j++) acc[i][j] += a * b[j];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < MB; i++)
#pragma GCC unroll 8
    for (int j = 0; j < NB; j++) finish(acc[i][j], i, j);
}

template <int M, int NB, typename F>
static INLINE void panel(const T* A, int64_t am, int64_t ak, const T* B, int64_t bk, int K, const T* bias, F&& finish) {
  Split<M, (REGISTERS - 6) / 4>::each([&](auto rows, int m) FLAT {
    block<decltype(rows)::value, NB>(A + m * am, am, ak, B, bk, K, bias ? bias + m : nullptr,
                                     [&](V v, int i, int j) FLAT { finish(v, m + i, j); });
  });
}

// finish(sum_k A(m, k) B[k][n] + bias[m], m, n) for M rows and `vectors` vectors of columns.
template <int M, typename F>
static void product(const T* A, int64_t am, int64_t ak, const T* B, int64_t bk, int vectors, int K, const T* bias,
                    F finish) {
  for (int n = 0; n < vectors;) {
    const int left = vectors - n, take = left == 5 ? 3 : left < 4 ? left : 4;
    const T* b = B + n * L;
    const auto here = [&](V v, int i, int j) FLAT { finish(v, i, n + j); };
    switch (take) {
      case 1: panel<M, 1>(A, am, ak, b, bk, K, bias, here); break;
      case 2: panel<M, 2>(A, am, ak, b, bk, K, bias, here); break;
      case 3: panel<M, 3>(A, am, ak, b, bk, K, bias, here); break;
      case 4: panel<M, 4>(A, am, ak, b, bk, K, bias, here); break;
    }
    n += take;
  }
}

// finish(sum over samples of A[m] B[n], m, n), a scalar, for M rows and N rows of `vectors` vectors of samples each.
template <int MB, int NB, typename F>
static INLINE void dots_block(const T* A, const T* B, int64_t stride, int vectors, F&& finish) {
  constexpr int COUNT = up(MB * NB, L);
  V acc[COUNT] = {};
  for (int v = 0; v < vectors; v++) {
    V b[NB];
#pragma GCC unroll 8
    for (int j = 0; j < NB; j++) b[j] = load(B + j * stride + v * L);
#pragma GCC unroll 8
    for (int i = 0; i < MB; i++) {
      const V a = load(A + i * stride + v * L);
#pragma GCC unroll 8
      for (int j = 0; j < NB; j++) acc[i * NB + j] += a * b[j];
    }
  }
  alignas(64) T sums[COUNT];
#pragma GCC unroll 16
  for (int i = 0; i < COUNT; i += L) store(sums + i, lane_sums(acc + i));
#pragma GCC unroll 8
  for (int i = 0; i < MB; i++)
#pragma GCC unroll 8
    for (int j = 0; j < NB; j++) finish(sums[i * NB + j], i, j);
}

template <int M, int N, typename F>
static void dots(const T* A, const T* B, int64_t stride, int vectors, F finish) {
  constexpr int MOST = REGISTERS == 32 ? 5 : 3;
  Split<M, MOST>::each([&](auto rows, int m) FLAT {
    Split<N, MOST>::each([&](auto columns, int n) FLAT {
      dots_block<decltype(rows)::value, decltype(columns)::value>(
          A + m * stride, B + n * stride, stride, vectors,
          [&](T v, int i, int j) FLAT { finish(v, m + i, n + j); });
    });
  });
}
