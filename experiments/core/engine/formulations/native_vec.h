// Vectors of L samples ("lanes") of type T, e^x, transposition and small matrix products.
//
// Macros: T (float|double)  IS_DOUBLE (0|1)  VB (bytes of a vector).
#pragma once
#include <cstdint>
#include <utility>

typedef T V __attribute__((vector_size(VB)));
typedef T VU __attribute__((vector_size(VB), aligned(sizeof(T)), may_alias));  // unaligned access
#if IS_DOUBLE
typedef int64_t I;
#else
typedef int32_t I;
#endif
typedef I VI __attribute__((vector_size(VB)));
constexpr int L = VB / sizeof(T);
typedef uint8_t VC __attribute__((vector_size(L)));
#define INLINE inline __attribute__((always_inline))
constexpr int up(int a, int b) { return (a + b - 1) / b * b; }

static INLINE V load(const T* p) { return *(const V*)p; }
static INLINE V loadu(const T* p) { return *(const VU*)p; }
static INLINE void store(T* p, V v) { *(V*)p = v; }
static INLINE void storeu(T* p, V v) { *(VU*)p = v; }
static INLINE V splat(T x) { return x - V{}; }
static INLINE V relu(V v) { return v <= V{} ? V{} : v; }  // lets NaN through

// ---- e^x for x <= 0 (NaN passes), to a few units in the last place -------------------------------------------------
static INLINE V exponential(V x) {
  const T low = IS_DOUBLE ? T(-708) : T(-87);
  x = x < low ? splat(low) : x;
  const V shifter = splat(IS_DOUBLE ? T(6755399441055744.0) : T(12582912.0));
  V k = (x * T(1.44269504088896340736) + shifter) - shifter;
  V r = IS_DOUBLE ? (x - k * T(0.693147180369123816490)) - k * T(1.90821492927058770002e-10)
                  : (x - k * T(0.693359375)) + k * T(2.12194440e-4);
  constexpr int N = IS_DOUBLE ? 13 : 7;
  V p = splat(1);
#pragma GCC unroll 16
  for (int i = N; i >= 1; i--) p = p * r / splat(T(i)) + T(1);
  VI e = (__builtin_convertvector(k, VI) + (IS_DOUBLE ? 1023 : 127)) << (IS_DOUBLE ? 52 : 23);
  return p * (V)e;
}

// ---- L x L transposition ----------------------------------------------------------------------------------------------
template <int H> constexpr int low(int i) { return (i & H) ? i - H + L : i; }
template <int H> constexpr int high(int i) { return (i & H) ? i + L : i + H; }
template <int H, int... J> static INLINE void cross(V* a, std::integer_sequence<int, J...>) {
#pragma GCC unroll 16
  for (int i = 0; i < L; i++)
    if (!(i & H)) {
      const V u = a[i], v = a[i + H];
#if defined(__clang__)
      a[i] = __builtin_shufflevector(u, v, low<H>(J)...), a[i + H] = __builtin_shufflevector(u, v, high<H>(J)...);
#else
      a[i] = __builtin_shuffle(u, v, VI{low<H>(J)...}), a[i + H] = __builtin_shuffle(u, v, VI{high<H>(J)...});
#endif
    }
}
template <int H> static INLINE void butterfly(V* a) {
  if constexpr (H >= 1) {
    cross<H>(a, std::make_integer_sequence<int, L>());
    butterfly<H / 2>(a);
  }
}
static INLINE void transpose(V* a) { butterfly<L / 2>(a); }

// from[row * fstride + lane] (rows x L) -> to[lane * tstride + row]; writes up(rows, L) columns
static void rows_to_samples(const T* from, int64_t fstride, int rows, T* to, int64_t tstride) {
  for (int r = 0; r < rows; r += L) {
    V a[L];
#pragma GCC unroll 16
    for (int i = 0; i < L; i++) a[i] = r + i < rows ? load(from + (r + i) * fstride) : V{};
    transpose(a);
#pragma GCC unroll 16
    for (int i = 0; i < L; i++) storeu(to + i * tstride + r, a[i]);
  }
}

// ---- C[m][n] (+)= sum_k A(m,k) B[k][n] + bias[m] : a register block of MB x NB vectors ------------------------------------
template <int MB, int NB>
static INLINE void block(const T* A, int64_t am, int64_t ak, const T* B, int64_t bk, T* C, int64_t cm, int K,
                         const T* bias, bool add, bool clip, int tail) {
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
    for (int j = 0; j < NB; j++) {
      T* c = C + i * cm + j * L;
      if (clip) acc[i][j] = relu(acc[i][j]);
      if (j == NB - 1 && tail) {  // the last vector sticks out of the row
        for (int l = 0; l < tail; l++) c[l] = (add ? c[l] : T(0)) + acc[i][j][l];
      } else {
        storeu(c, add ? loadu(c) + acc[i][j] : acc[i][j]);
      }
    }
}

template <int NB>
static void panel(const T* A, int64_t am, int64_t ak, const T* B, int64_t bk, T* C, int64_t cm, int M, int K,
                  const T* bias, bool add, bool clip, int tail) {
  constexpr int MB = 6;
  int m = 0;
#define GO(R) block<R, NB>(A + m * am, am, ak, B, bk, C + m * cm, cm, K, bias ? bias + m : nullptr, add, clip, tail)
  for (; m + MB <= M; m += MB) GO(MB);
  for (; m + 2 <= M; m += 2) GO(2);
  if (m < M) GO(1);
#undef GO
}

static void gemm(const T* A, int64_t am, int64_t ak, const T* B, int64_t bk, T* C, int64_t cm, int M, int N, int K,
                 const T* bias, bool add, bool clip) {
  int left = (N + L - 1) / L, n = 0;
  while (left) {
    const int take = left == 5 ? 3 : left < 4 ? left : 4;
    const int tail = left == take ? N % L : 0;
    const T* b = B + n;
    T* c = C + n;
    switch (take) {
      case 1: panel<1>(A, am, ak, b, bk, c, cm, M, K, bias, add, clip, tail); break;
      case 2: panel<2>(A, am, ak, b, bk, c, cm, M, K, bias, add, clip, tail); break;
      case 3: panel<3>(A, am, ak, b, bk, c, cm, M, K, bias, add, clip, tail); break;
      case 4: panel<4>(A, am, ak, b, bk, c, cm, M, K, bias, add, clip, tail); break;
    }
    left -= take, n += take * L;
  }
}
