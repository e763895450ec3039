// Matrix products on vectors of channels, sizes known when running: many rows (positions), few columns (channels).
#pragma once
#include "native_product.h"

// Where the terms of one product start: `count` pieces of the inner dimension, at a[i] in A's rows and at b[i] in B.
struct Taps {
  int count = 1;
  int64_t a[4] = {}, b[4] = {};
};

constexpr int MOST = REGISTERS == 32 ? 24 : 12;  // accumulators; the rest holds B and what is broadcast
constexpr int WIDEST = REGISTERS == 32 ? 4 : 2;  // vectors of columns in a block

// C[i][..] (+)= sum over taps and k < K of A[i * as + a + k] * B[b + k * N + ..], for MB rows and NB vectors.
template <int MB, int NB, bool ADD>
static void rows_block(const T* A, int64_t as, const T* B, int64_t N, const Taps& taps, int64_t K, T* C, int64_t cs) {
  V acc[MB][NB];
#pragma GCC unroll 32
  for (int i = 0; i < MB; i++)
#pragma GCC unroll 4
    for (int j = 0; j < NB; j++) acc[i][j] = ADD ? load(C + i * cs + j * L) : V{};
  for (int t = 0; t < taps.count; t++) {
    const T *row[(MB + 2) / 3], *b = B + taps.b[t];  // every third row: the two between are reached by scaled indices
#pragma GCC unroll 32
    for (int i = 0; i < (MB + 2) / 3; i++) row[i] = A + taps.a[t] + 3 * i * as;
#pragma GCC unroll 1
    for (int64_t k = 0; k < K; k++, b += N) {
      V v[NB];
#pragma GCC unroll 4
      for (int j = 0; j < NB; j++) v[j] = load(b + j * L);
#pragma GCC unroll 32
      for (int i = 0; i < MB; i++) {
        const T a = row[i / 3][(i % 3) * as + k];
#pragma GCC unroll 4
        for (int j = 0; j < NB; j++) acc[i][j] += a * v[j];
      }
    }
  }
#pragma GCC unroll 32
  for (int i = 0; i < MB; i++)
#pragma GCC unroll 4
    for (int j = 0; j < NB; j++) store(C + i * cs + j * L, acc[i][j]);
}

// How the rows of two matrices follow one another: `lines` of `rows` each.
struct Grid {
  int64_t lines, rows, aline, arow, bline, brow;
};

// D[m][..] += sum over the grid's rows of A[m] * B[..], for MB entries m and NB vectors.
template <int MB, int NB> static void outer_block(const T* A, const T* B, const Grid& g, T* D, int64_t N) {
  V acc[MB][NB];
#pragma GCC unroll 32
  for (int i = 0; i < MB; i++)
#pragma GCC unroll 4
    for (int j = 0; j < NB; j++) acc[i][j] = V{};
  for (int64_t line = 0; line < g.lines; line++) {
    const T *a = A + line * g.aline, *b = B + line * g.bline;
#pragma GCC unroll 1
    for (int64_t r = 0; r < g.rows; r++, a += g.arow, b += g.brow) {
      V v[NB];
#pragma GCC unroll 4
      for (int j = 0; j < NB; j++) v[j] = load(b + j * L);
#pragma GCC unroll 32
      for (int i = 0; i < MB; i++)
#pragma GCC unroll 4
        for (int j = 0; j < NB; j++) acc[i][j] += a[i] * v[j];
    }
  }
#pragma GCC unroll 32
  for (int i = 0; i < MB; i++)
#pragma GCC unroll 4
    for (int j = 0; j < NB; j++) store(D + i * N + j * L, load(D + i * N + j * L) + acc[i][j]);
}

// visit(constant number of vectors, first column) for N columns, N a multiple of L.
template <int NB, typename F> static INLINE void columns(int64_t N, int64_t at, F&& visit) {
  for (; at + NB * L <= N; at += NB * L) visit(std::integral_constant<int, NB>(), at);
  if constexpr (NB > 1) columns<NB / 2>(N, at, visit);
}

template <int NB, bool ADD, int... I_> static INLINE auto rows_blocks(std::integer_sequence<int, I_...>) {
  typedef void (*Block)(const T*, int64_t, const T*, int64_t, const Taps&, int64_t, T*, int64_t);
  static constexpr Block known[] = {rows_block<I_ + 1, NB, ADD>...};
  return known;
}
template <int NB, int... I_> static INLINE auto outer_blocks(std::integer_sequence<int, I_...>) {
  typedef void (*Block)(const T*, const T*, const Grid&, T*, int64_t);
  static constexpr Block known[] = {outer_block<I_ + 1, NB>...};
  return known;
}

// visit(start, count) for `all` things in nearly equal parts of at most `most`.
template <typename F> static INLINE void parts(int64_t all, int64_t most, F&& visit) {
  const int64_t count = (all + most - 1) / most;
  for (int64_t i = 0; i < count; i++) visit(i * all / count, (i + 1) * all / count - i * all / count);
}

// C (+)= A B for `rows` rows `as` (`cs`) apart and N columns; see rows_block.
template <bool ADD>
static void rows_product(const T* A, int64_t as, int64_t rows, const T* B, int64_t N, const Taps& taps, int64_t K, T* C,
                         int64_t cs) {
  columns<WIDEST>(N, 0, [&](auto vectors, int64_t n) {
    constexpr int NB = decltype(vectors)::value;
    const auto known = rows_blocks<NB, ADD>(std::make_integer_sequence<int, MOST / NB>());
    parts(rows, MOST / NB, [&](int64_t r, int64_t count) {
      known[count - 1](A + r * as, as, B + n, N, taps, K, C + r * cs + n, cs);
    });
  });
}

// D [M][N] += the outer products A[m] B[n] summed over the grid's rows.
static void outer_product(const T* A, int64_t M, const T* B, int64_t N, const Grid& grid, T* D) {
  columns<WIDEST>(N, 0, [&](auto vectors, int64_t n) {
    constexpr int NB = decltype(vectors)::value;
    const auto known = outer_blocks<NB>(std::make_integer_sequence<int, MOST / NB>());
    parts(M, MOST / NB, [&](int64_t m, int64_t count) { known[count - 1](A + m, B + n, grid, D + m * N + n, N); });
  });
}
