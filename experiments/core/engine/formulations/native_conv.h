// One convolution block, forward and backward: convolution, bias, 2x2 maximum pooling and ReLU in one loop nest.
//
// Forward: a vector holds one unit of L samples. Only the pooled result and the place of the maximum are stored.
// Backward: one sample at a time, since after pooling only one position in four carries gradient and it differs between
// samples. A vector holds a piece of a patch row (kernel width x channels, contiguous).
#pragma once
#include <cstring>

#include "native_linear.h"

struct Layer {    // one convolution's arrays
  T *lanes;       // [blocks if first, else 1][up(CELLS, L)][L]
  T *samples;     // [CHUNK][SIZE]
  uint8_t *at;    // [blocks][O*WIN][L]
  T *packed, *shifted, *acc, *bacc, *dx, *g;
  T *sum, *bsum;  // as acc and bacc, of clipped gradients
};

template <int I_> struct Conv {
  static constexpr int C = CHA[I_], O = CHA[I_ + 1], K = KKA[I_], H = HHA[I_], W = WWA[I_];
  static constexpr bool RELU = CAA[I_] == ::RELU, BIAS = CBA[I_], LAST = I_ + 1 == NCONV;
  static constexpr int P = PPA[I_], HP = H + 2 * P, WP = W + 2 * P;   // padded input [HP][WP][C]
  static constexpr int OH = (HP - K + 1) / 2, OW = (WP - K + 1) / 2, WIN = OH * OW;
  static constexpr int CELLS = HP * WP * C;                         // scalars of one padded sample
  static constexpr int SIZE = up(CELLS + 4 * L, 16);                // with slack for vectors that stick out
  static constexpr int RV = (K * C + L - 1) / L;                    // vectors of a kernel row
  static constexpr int WV = ((K + 1) * C + L - 1) / L;              // vectors of a window's row
  static constexpr int WEIGHTS = O * C * K * K;
  static constexpr int GROUPS = (O + 3) / 4;
  static constexpr int SUMS = O * K * RV * L;                       // scalars of a sum of weight gradients, with slack

  template <typename F> static void carve(Layer& l, F&& take) {
    take(l.lanes, up(CELLS, L) * L * (I_ ? 1 : CHUNK / L)), take(l.samples, SIZE * CHUNK), take(l.at, O * WIN * CHUNK);
    take(l.packed, PACKED), take(l.shifted, SHIFTED), take(l.dx, SIZE), take(l.g, O * WIN + L);
    take(l.acc, SUMS), take(l.bacc, O), take(l.sum, SUMS), take(l.bsum, O);
  }

  // weight [O][C][K][K] -> [group][C][K][K][4]
  static void pack(const T* w, T* to) {
    for (int o = 0; o < O; o++)
      for (int r = 0; r < C * K * K; r++) to[((o / 4) * C * K * K + r) * 4 + o % 4] = w[o * C * K * K + r];
  }
  static constexpr int PACKED = GROUPS * C * K * K * 4;

  // weight -> [shift 0|1][O][K + 2 rows, first and last zero][WV * L]: row pieces to add into a window's gradient
  static constexpr int SHIFTED = 2 * O * (K + 2) * WV * L;
  static void shift(const T* w, T* to) {
    memset(to, 0, SHIFTED * sizeof(T));
    for (int s = 0; s < 2; s++)
      for (int o = 0; o < O; o++)
        for (int c = 0; c < C; c++)
          for (int y = 0; y < K; y++)
            for (int x = 0; x < K; x++)
              to[((s * O + o) * (K + 2) + y + 1) * WV * L + (x + s) * C + c] = w[((o * C + c) * K + y) * K + x];
  }

  template <int N> static INLINE void window(const T* in, const T* w, const T* bias, V best[N], VI at[N]) {
    V acc[N][4];
#pragma GCC unroll 4
    for (int o = 0; o < N; o++)
#pragma GCC unroll 4
      for (int q = 0; q < 4; q++) acc[o][q] = BIAS ? splat(bias[o]) : V{};
    for (int c = 0; c < C; c++)
#pragma GCC unroll 1
      for (int y = 0; y < K; y++) {
        const T* row = in + (y * WP * C + c) * L;
        const T* tap = w + (c * K + y) * K * 4;
#pragma GCC unroll 16
        for (int x = 0; x < K; x++) {
          const V a0 = load(row + x * C * L), a1 = load(row + (x + 1) * C * L);
          const V b0 = load(row + (WP + x) * C * L), b1 = load(row + (WP + x + 1) * C * L);
#pragma GCC unroll 4
          for (int o = 0; o < N; o++) {
            const T f = tap[x * 4 + o];
            acc[o][0] += f * a0, acc[o][1] += f * a1, acc[o][2] += f * b0, acc[o][3] += f * b1;
          }
        }
      }
#pragma GCC unroll 4
    for (int o = 0; o < N; o++) {  // the first maximum wins, as in PyTorch; NaN wins over all
      V m = acc[o][0];
      VI place = VI{};
#pragma GCC unroll 4
      for (int q = 1; q < 4; q++) {
        const VI wins = (acc[o][q] > m) | (acc[o][q] != acc[o][q]);
        m = wins ? acc[o][q] : m;
        place = wins ? VI{} + q : place;
      }
      best[o] = RELU ? relu(m) : m;
      at[o] = place;
    }
  }

  template <int N, bool KEEP>
  static void group(const T* in, const T* w, const T* bias, int o0, T* out, int64_t ostride, uint8_t* at) {
    for (int y = 0; y < OH; y++)
      for (int x = 0; x < OW; x++) {
        V best[N];
        VI place[N];
        window<N>(in + (2 * y * WP + 2 * x) * C * L, w, bias + o0, best, place);
#pragma GCC unroll 4
        for (int o = 0; o < N; o++) {
          const int64_t r = where(o0 + o, y, x);
          store(out + r * ostride, best[o]);
          if (KEEP) *(VC*)(at + rank(o0 + o, y, x) * L) = __builtin_convertvector(place[o], VC);
        }
      }
  }

  // Row of the result in lanes: channel-major for the linear layers, else the next convolution's padded cells.
  static INLINE int where(int o, int y, int x) {
    if constexpr (LAST) return (o * OH + y) * OW + x;
    constexpr int p = LAST ? 0 : PPA[I_ + (LAST ? 0 : 1)];
    return ((y + p) * (OW + 2 * p) + x + p) * O + o;
  }
  static INLINE int rank(int o, int y, int x) { return LAST ? (o * OH + y) * OW + x : (y * OW + x) * O + o; }

  // in: lanes [CELLS][L]; out rows of stride `ostride`; at: [O*WIN][L] places of the maxima
  template <bool KEEP> static void forward(const T* in, const T* w, const T* bias, T* out, int64_t ostride, uint8_t* at) {
    for (int g = 0; g < O / 4; g++) group<4, KEEP>(in, w + g * C * K * K * 4, bias, 4 * g, out, ostride, at);
    if constexpr (O % 4 != 0)
      group<O % 4, KEEP>(in, w + (O / 4) * C * K * K * 4, bias, O / 4 * 4, out, ostride, at);
  }

  // One sample. g: [O*WIN] by rank(); at: the same, L bytes apart; in: [CELLS] of this sample. acc: [O][K][RV*L] running sums; bacc [O].
  static void weight_gradient(const T* g, const uint8_t* at, const T* in, T* acc, T* bacc) {
    constexpr int so = LAST ? WIN : 1, sw = LAST ? 1 : O;
    constexpr int off[4] = {0, C, WP * C, WP * C + C};
    for (int o = 0; o < O; o++) {
      V sum[K][RV];
#pragma GCC unroll 16
      for (int y = 0; y < K; y++)
#pragma GCC unroll 8
        for (int v = 0; v < RV; v++) sum[y][v] = load(acc + ((o * K + y) * RV + v) * L);
      T total = 0;
      const T* gp = g + o * so;
      const uint8_t* ap = at + o * so * L;
      for (int y = 0; y < OH; y++)
        for (int x = 0; x < OW; x++, gp += sw, ap += sw * L) {
          const T d = *gp;
          if (d == 0) continue;
          const T* from = in + (2 * y * WP + 2 * x) * C + off[*ap];
          total += d;
#pragma GCC unroll 16
          for (int k = 0; k < K; k++)
#pragma GCC unroll 8
            for (int v = 0; v < RV; v++) sum[k][v] += d * loadu(from + k * WP * C + v * L);
        }
#pragma GCC unroll 16
      for (int y = 0; y < K; y++)
#pragma GCC unroll 8
        for (int v = 0; v < RV; v++) store(acc + ((o * K + y) * RV + v) * L, sum[y][v]);
      bacc[o] += total;
    }
  }

  // Sum of squares of the weight gradient in acc, without what vectors that stick out hold.
  static T squares(const T* acc) {
    VI lane;
    for (int i = 0; i < L; i++) lane[i] = i;
    const VI inside = lane < VI{} + (K * C - (RV - 1) * L);
    V sum = V{};
    for (int r = 0; r < O * K; r++, acc += RV * L) {
      for (int v = 0; v + 1 < RV; v++) sum += load(acc + v * L) * load(acc + v * L);
      const V last = load(acc + (RV - 1) * L);
      sum += inside ? last * last : V{};
    }
    T total = 0;
    for (int i = 0; i < L; i++) total += sum[i];
    return total;
  }

  // One sample. Gradient of the padded input [SIZE] from g, at and the shifted weights.
  static void input_gradient(const T* g, const uint8_t* at, const T* shifted, T* out) {
    constexpr int so = LAST ? WIN : 1, sw = LAST ? 1 : O;
    constexpr int ROW = WV * L;
    constexpr int place[4] = {ROW, O * (K + 2) * ROW + ROW, 0, O * (K + 2) * ROW};  // q = 2 * dy + dx
    memset(out, 0, SIZE * sizeof(T));
    for (int y = 0; y < OH; y++)
      for (int x = 0; x < OW; x++) {
        V sum[K + 1][WV];
        T* to = out + (2 * y * WP + 2 * x) * C;
#pragma GCC unroll 16
        for (int k = 0; k <= K; k++)
#pragma GCC unroll 8
          for (int v = 0; v < WV; v++) sum[k][v] = loadu(to + k * WP * C + v * L);
        const int64_t base = (y * OW + x) * sw;
        for (int o = 0; o < O; o++) {
          const T d = g[base + o * so];
          if (d == 0) continue;
          const T* w = shifted + place[at[(base + o * so) * L]] + o * (K + 2) * ROW;
#pragma GCC unroll 16
          for (int k = 0; k <= K; k++)
#pragma GCC unroll 8
            for (int v = 0; v < WV; v++) sum[k][v] += d * load(w + k * ROW + v * L);
        }
        // Rows may reach past (K + 1) * C into cells of the next window: those lanes carry zeros on top.
#pragma GCC unroll 16
        for (int k = 0; k <= K; k++)
#pragma GCC unroll 8
          for (int v = 0; v < WV; v++) storeu(to + k * WP * C + v * L, sum[k][v]);
      }
  }
};
