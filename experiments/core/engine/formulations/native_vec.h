// Vectors of L samples ("lanes") of type T: elementary functions, transposition, sums over lanes.
//
// Macros: T (float|double)  IS_DOUBLE (0|1)  NCONV.
#pragma once
#include <cstdint>
#include <utility>

#if defined(__AVX512F__) && NCONV == 0  // the convolutions' loop nests are fitted to 32 bytes
constexpr int VB = 64;
#else
constexpr int VB = 32;
#endif
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
#define FLAT __attribute__((always_inline))
#define INLINE inline FLAT
constexpr int up(int a, int b) { return (a + b - 1) / b * b; }

static INLINE V load(const T* p) { return *(const V*)p; }
static INLINE V loadu(const T* p) { return *(const VU*)p; }
static INLINE void store(T* p, V v) { *(V*)p = v; }
static INLINE void storeu(T* p, V v) { *(VU*)p = v; }
static INLINE V splat(T x) { return x - V{}; }
static INLINE V relu(V v) { return v <= V{} ? V{} : v; }  // lets NaN through

// ---- elementary functions, to a few units in the last place; NaN passes -----------------------------------------------
struct Power {
  V less, scale;  // e^x = scale * (1 + less), |less| < 0.42, scale a power of two
};

// For low <= x <= 0. The polynomial is (e^r - 1 - r) / r^2 on |r| <= ln(2)/2 by Chebyshev interpolation: 4e-17, 2e-8.
static INLINE Power power(V x) {
  constexpr T Q[] = {
#if IS_DOUBLE
      2.5100385495510319078e-8, 2.7620088445409748161e-7, 2.7557268459997064772e-6, 2.4801521295954375131e-5,
      1.9841269863053616878e-4, 1.3888888917213716901e-3, 8.3333333333300618325e-3, 4.1666666666624127873e-2,
      0.16666666666666667453,   0.50000000000000010221
#else
      1.392618359e-3f, 8.363179053e-3f, 4.166655462e-2f, 0.1666657699f, 0.5f
#endif
  };
  const V shifter = splat(IS_DOUBLE ? T(6755399441055744.0) : T(12582912.0));
  const V shifted = x * T(1.44269504088896340736) + shifter, k = shifted - shifter;
  const V r = IS_DOUBLE ? (x - k * T(0.693147180369123816490)) - k * T(1.90821492927058770002e-10)
                        : (x - k * T(0.693359375)) + k * T(2.12194440e-4);
  V q = splat(Q[0]);
#pragma GCC unroll 16
  for (unsigned i = 1; i < sizeof(Q) / sizeof(T); i++) q = q * r + Q[i];
  // The low bits of `shifted` are k; the shift drops the others.
  const VI e = ((VI)shifted + (IS_DOUBLE ? 1023 : 127)) << (IS_DOUBLE ? 52 : 23);
  return {r * r * q + r, (V)e};
}

static INLINE V exponential(V x) {  // of x <= 0
  const T low = IS_DOUBLE ? T(-708) : T(-87);
  const Power p = power(x < low ? splat(low) : x);
  return p.less * p.scale + p.scale;
}

// -expm1(-2|x|) / (2 + expm1(-2|x|)) with the sign of x: exact to rounding near 0 too, where expm1 keeps its digits.
static INLINE V hyperbolic_tangent(V x) {
  const VI sign = (VI)x & (VI)splat(T(-0.0));
  const V y = T(-2) * (V)((VI)x ^ sign);
  const Power p = power(y < T(-60) ? splat(T(-60)) : y);
  const V m = p.less * p.scale + (p.scale - T(1));
  return (V)((VI)((V{} - m) / (m + T(2))) ^ sign);
}

static INLINE V logistic(V x) {
  const V e = exponential(x > V{} ? -x : x);
  return (x > V{} ? splat(1) : e) / (e + T(1));
}

// ---- L x L transposition ----------------------------------------------------------------------------------------------
template <int H> constexpr int low(int i) { return (i & H) ? i - H + L : i; }
template <int H> constexpr int high(int i) { return (i & H) ? i + L : i + H; }
template <int H, int... J> static INLINE void cross(V& u, V& v, std::integer_sequence<int, J...>) {
  const V a = u, b = v;
#if defined(__clang__)
  u = __builtin_shufflevector(a, b, low<H>(J)...), v = __builtin_shufflevector(a, b, high<H>(J)...);
#else
  u = __builtin_shuffle(a, b, VI{low<H>(J)...}), v = __builtin_shuffle(a, b, VI{high<H>(J)...});
#endif
}
template <int H> static INLINE void butterfly(V* a) {
  if constexpr (H >= 1) {
#pragma GCC unroll 16
    for (int i = 0; i < L; i++)
      if (!(i & H)) cross<H>(a[i], a[i + H], std::make_integer_sequence<int, L>());
    butterfly<H / 2>(a);
  }
}
static INLINE void transpose(V* a) { butterfly<L / 2>(a); }

// Lane j of the result is the sum over the lanes of a[j]; overwrites a.
template <int H> static INLINE void halve(V* a) {
  if constexpr (H >= 1) {
#pragma GCC unroll 16
    for (int i = 0; i < H; i++) {
      cross<H>(a[i], a[i + H], std::make_integer_sequence<int, L>());
      a[i] += a[i + H];
    }
    halve<H / 2>(a);
  }
}
static INLINE V lane_sums(V* a) {
  halve<L / 2>(a);
  return a[0];
}

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
