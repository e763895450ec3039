// One convolution block with group normalisation: convolution, bias, normalisation, activation and 2x2 maximum pooling.
//
// A normalised value depends on all positions of its group, so gradients reach every position, not only the maxima as in
// native_conv.h. Hence all is done for L samples in lanes, the gradients of weights too: one of each sample's own in every
// lane, in theta's order. Arrays are [channel][row][column][L].
#pragma once
#include <cmath>

#include "native_linear.h"
#include "native_slide.h"

struct Layer {     // one convolution's arrays
  T *lanes;        // [blocks][CELLS][L] padded inputs
  T *z;            // [blocks][O][POS][L]
  T *mean, *rstd;  // [blocks][groups][L]
  uint8_t* at;     // [blocks][O][WIN][L] places of the maxima
  T *packed, *flipped, *dz, *dx;
};

template <int I_> struct Conv {
  static constexpr int C = CHA[I_], O = CHA[I_ + 1], K = KKA[I_], H = HHA[I_], W = WWA[I_], P = PPA[I_];
  static constexpr int ACT = CAA[I_], G = CGA[I_], EACH_GROUP = G ? O / G : O;
  static constexpr bool BIAS = CBA[I_], LAST = I_ + 1 == NCONV;
  static constexpr int HP = H + 2 * P, WP = W + 2 * P, CELLS = C * HP * WP;  // padded inputs
  static constexpr int ZH = HP - K + 1, ZW = WP - K + 1, POS = ZH * ZW;      // results of the convolution, z
  static constexpr int OH = ZH / 2, OW = ZW / 2, WIN = OH * OW;              // pooled
  static constexpr int Q = I_ ? K - 1 - P : 0;  // zeros around dz, which the gradient by the inputs slides over
  static constexpr int DH = ZH + 2 * Q, DW = ZW + 2 * Q;
  static constexpr int WEIGHTS = O * C * K * K, GAMMA = WEIGHTS + BIAS * O, BETA = GAMMA + O;  // places in theta

  template <typename F> static void carve(Layer& l, F&& take) {
    constexpr int BLOCKS = CHUNK / L;
    take(l.lanes, BLOCKS * up(CELLS, L) * L), take(l.z, BLOCKS * O * POS * L), take(l.at, BLOCKS * O * WIN * L);
    take(l.mean, BLOCKS * G * L), take(l.rstd, BLOCKS * G * L);
    take(l.packed, WEIGHTS), take(l.flipped, WEIGHTS), take(l.dz, O * DH * DW * L), take(l.dx, C * H * W * L);
  }

  // weight [O][C][K][K] -> [C][K][K][O], and turned by half a circle [O][K][K][C]
  static void pack(const T* w, T* packed, T* flipped) {
    for (int o = 0; o < O; o++)
      for (int c = 0; c < C; c++)
        for (int t = 0; t < K * K; t++, w++) {
          packed[(c * K * K + t) * O + o] = *w;
          if (flipped) flipped[(o * K * K + K * K - 1 - t) * C + c] = *w;
        }
  }

  static INLINE int z_at(int o, int y, int x) { return ((o * ZH + y) * ZW + x) * L; }
  static INLINE int rank(int o, int y, int x) { return (o * OH + y) * OW + x; }
  // Row of a result: channel-major for the linear layers, else the next convolution's padded inputs.
  static INLINE int where(int o, int y, int x) {
    constexpr int p = LAST ? 0 : PPA[I_ + (LAST ? 0 : 1)];
    return (o * (OH + 2 * p) + y + p) * (OW + 2 * p) + x + p;
  }

  static void measure(const T* z, T* mean, T* rstd) {
    constexpr int n = EACH_GROUP * POS;
    for (int g = 0; g < G; g++, z += n * L) {
      const V mid = summed(n, [&](int i) FLAT { return load(z + i * L); }) / T(n);
      V var = summed(n, [&](int i) FLAT { const V off = load(z + i * L) - mid; return off * off; }) / T(n);
      for (int l = 0; l < L; l++) var[l] = T(1) / std::sqrt(var[l] + T(CEA[I_]));
      store(mean + g * L, mid), store(rstd + g * L, var);
    }
  }

  template <bool KEEP> static void forward(const Layer& l, const T* theta, int b, T* out, int64_t ostride) {
    T *z = l.z + int64_t(b) * O * POS * L, *mean = l.mean + b * G * L, *rstd = l.rstd + b * G * L;
    uint8_t* at = l.at + int64_t(b) * O * WIN * L;
    Slide<C, O, K, HP, WP>::all(l.lanes + int64_t(b) * up(CELLS, L) * L, l.packed, BIAS ? theta + WEIGHTS : nullptr, z);
    measure(z, mean, rstd);
    for (int o = 0; o < O; o++) {
      V mid = V{}, a = splat(1), e = V{};
      if constexpr (G > 0) {
        mid = load(mean + o / EACH_GROUP * L), a = load(rstd + o / EACH_GROUP * L) * theta[GAMMA + o];
        e = splat(theta[BETA + o]);
      }
      for (int y = 0; y < OH; y++)
        for (int x = 0; x < OW; x++) {
          const T* from = z + z_at(o, 2 * y, 2 * x);
          V best;
          VI place = VI{};
#pragma GCC unroll 4
          for (int q = 0; q < 4; q++) {
            const V raw = load(from + (q / 2 * ZW + q % 2) * L), v = G ? (raw - mid) * a + e : raw;
            // The first maximum wins, as in PyTorch; NaN wins over all.
            const VI wins = q ? VI((v > best) | (v != v)) : VI{} - 1;
            best = q ? (wins ? v : best) : v;
            place = wins ? VI{} + q : place;
          }
          store(out + where(o, y, x) * ostride, activated<ACT>(best));
          if (KEEP) *(VC*)(at + rank(o, y, x) * L) = __builtin_convertvector(place, VC);
        }
    }
  }

  // g(o, y, x): the derivative by what went into the activation. Adds to acc, which is in theta's order; z's in l.dz.
  template <typename F> static void spread(const Layer& l, const T* theta, int b, F&& g, T* acc) {
    const T* z = l.z + int64_t(b) * O * POS * L;
    const uint8_t* at = l.at + int64_t(b) * O * WIN * L;
    const auto place = [&](int o, int y, int x) FLAT { return __builtin_convertvector(*(const VC*)(at + rank(o, y, x) * L), VI); };
    for (int o0 = 0; o0 < O; o0 += EACH_GROUP) {
      V mid = V{}, rstd = splat(1), u = V{}, v = V{};  // the derivative by z is rstd gamma g + u + v (z - mid)
      if constexpr (G > 0) {
        mid = load(l.mean + (b * G + o0 / EACH_GROUP) * L), rstd = load(l.rstd + (b * G + o0 / EACH_GROUP) * L);
        for (int o = o0; o < o0 + EACH_GROUP; o++) {
          V sum = V{}, turned = V{};
          for (int y = 0; y < OH; y++)
            for (int x = 0; x < OW; x++) {
              const V d = g(o, y, x);
              const VI q = place(o, y, x);
              const T* from = z + z_at(o, 2 * y, 2 * x);
              const V top = q == 1 ? load(from + L) : load(from), low = q == 3 ? load(from + (ZW + 1) * L) : load(from + ZW * L);
              sum += d, turned += d * ((q > 1 ? low : top) - mid);
            }
          turned *= rstd;
          store(acc + (GAMMA + o) * L, load(acc + (GAMMA + o) * L) + turned);
          store(acc + (BETA + o) * L, load(acc + (BETA + o) * L) + sum);
          u += theta[GAMMA + o] * sum, v += theta[GAMMA + o] * turned;
        }
        constexpr T n = EACH_GROUP * POS;
        u *= -rstd / n, v *= -rstd * rstd / n;
      }
      for (int o = o0; o < o0 + EACH_GROUP; o++) {
        const V a = G ? rstd * theta[GAMMA + o] : rstd;
        V total = V{};
        const auto put = [&](int y, int x, V d) FLAT {
          if (G) d += u + v * (load(z + z_at(o, y, x)) - mid);
          store(l.dz + ((o * DH + y + Q) * DW + x + Q) * L, d);
          total += d;
        };
        for (int y = 0; y < OH; y++)
          for (int x = 0; x < OW; x++) {
            const V d = a * g(o, y, x);
            const VI q = place(o, y, x);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) put(2 * y + i / 2, 2 * x + i % 2, q == i ? d : V{});
          }
        for (int x = 0; ZH % 2 && x < ZW; x++) put(ZH - 1, x, V{});  // what pooling leaves out
        for (int y = 0; ZW % 2 && y < 2 * OH; y++) put(y, ZW - 1, V{});
        if (BIAS) store(acc + (WEIGHTS + o) * L, load(acc + (WEIGHTS + o) * L) + total);
      }
    }
  }

  // `rows` rows of N channels d against one row of taps, of inputs that begin at `in`.
  template <int N> static INLINE void taps(const T* d, const T* in, int rows, T* acc) {
    V sum[N][K];
#pragma GCC unroll 16
    for (int o = 0; o < N; o++)
#pragma GCC unroll 16
      for (int x = 0; x < K; x++) sum[o][x] = load(acc + (o * C * K * K + x) * L);
    for (int y = 0; y < rows; y++)
#pragma GCC unroll 1
      for (int i = 0; i < ZW; i++) {
        V a[K];
#pragma GCC unroll 16
        for (int x = 0; x < K; x++) a[x] = load(in + (y * WP + i + x) * L);
#pragma GCC unroll 16
        for (int o = 0; o < N; o++) {
          const V f = load(d + (o * DH * DW + y * DW + i) * L);
#pragma GCC unroll 16
          for (int x = 0; x < K; x++) sum[o][x] += f * a[x];
        }
      }
#pragma GCC unroll 16
    for (int o = 0; o < N; o++)
#pragma GCC unroll 16
      for (int x = 0; x < K; x++) store(acc + (o * C * K * K + x) * L, sum[o][x]);
  }

  static constexpr int least(int a, int b) { return a < b ? a : b; }
  static constexpr int TOGETHER = least(O, K < REGISTERS - 8 ? (REGISTERS - 8) / K : 1);  // channels, by registers
  // Rows at once: as many as stay in the first-level cache with all their inputs of one channel.
  static constexpr int FIT = (20480 / VB - (K - 1) * WP) / (TOGETHER * DW + WP), ROWS = FIT < 1 ? 1 : least(FIT, ZH);

  static void weight_gradient(const Layer& l, int b, T* acc) {
    const T* in = l.lanes + int64_t(b) * up(CELLS, L) * L;
    for (int y0 = 0; y0 < ZH; y0 += ROWS)
      Split<O, TOGETHER>::each([&](auto channels, int o) FLAT {
        for (int c = 0; c < C; c++)
          for (int k = 0; k < K; k++)
            taps<decltype(channels)::value>(l.dz + ((o * DH + y0 + Q) * DW + Q) * L, in + (c * HP + y0 + k) * WP * L,
                                            least(ROWS, ZH - y0), acc + ((o * C + c) * K + k) * K * L);
      });
  }

  // l.dz -> l.dx [C][H][W][L]
  static void input_gradient(const Layer& l) { Slide<O, C, K, DH, DW>::all(l.dz, l.flipped, nullptr, l.dx); }
};

// Samples `at` [ns] of x [..][C][H][W] -> padded lanes; zero in the lanes after them.
template <typename C> static void pack_lanes(T* lanes, const T* x, const int64_t* at, int ns) {
  constexpr int whole = C::C * C::H * C::W, row = C::P ? C::W : whole;  // contiguous in both
  for (int b = 0; b * L < ns; b++, at += L, lanes += up(C::CELLS, L) * L)
    for (int r = 0; r < whole / row; r++) {
      const int inside = C::P ? r % C::H + C::P + r / C::H * C::HP : 0;  // padded rows before this one
      T* to = lanes + int64_t(inside * C::WP + C::P) * L;
      const int here = ns - b * L < L ? ns - b * L : L;
      int i = 0;
      for (; i + L <= row; i += L) {
        V a[L];
        for (int s = 0; s < L; s++) a[s] = s < here ? loadu(x + at[s] * whole + r * row + i) : V{};
        transpose(a);
        for (int s = 0; s < L; s++) store(to + (i + s) * L, a[s]);
      }
      for (; i < row; i++)
        for (int s = 0; s < L; s++) to[i * L + s] = s < here ? x[at[s] * whole + r * row + i] : T(0);
    }
}
