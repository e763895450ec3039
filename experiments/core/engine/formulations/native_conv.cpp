// Gradients and outputs of many small models on one batch, one model at a time, single threaded.
//
// Models: any number of [Conv2d(odd kernel, same padding, stride 1), optional ReLU, MaxPool2d(2)], then Flatten and
// Linear layers with optional ReLU, optionally a last Sigmoid; softmax cross-entropy. The shape comes in as macros:
//   T (float|double)  VB (bytes of a vector)  NCONV  NLIN  SIGMOID (0|1)
//   CH {c0,c1,..} HH {h0,..} WW {w0,..} KK {k1,..} CRELU {..} CBIAS {..}: channels/sizes before each convolution (and after the last)
//   DIM {d0,d1,..} LRELU {..} LBIAS {..}: widths of the linear layers.
//
// Forward: a vector holds one unit of L samples ("lanes"). Convolution, bias, pooling and ReLU are one loop nest over
// 2x2 pooling windows, so nothing but the pooled result and the place of the maximum is stored.
// Backward through a convolution: one sample at a time, since after pooling only one position in four carries gradient
// and it differs between samples. A vector holds a piece of a patch row (kernel width x channels, contiguous).
// Plain -O3 without -ffast-math: NaN and infinity behave as in PyTorch.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
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
constexpr int CHUNK = 128;  // samples in flight: bounds the work space
#define INLINE inline __attribute__((always_inline))

constexpr int CHA[] = CH, HHA[] = HH, WWA[] = WW, KKA[] = KK, CRA[] = CRELU, CBA[] = CBIAS;
constexpr int DIMA[] = DIM, LRA[] = LRELU, LBA[] = LBIAS;
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

// ---- one convolution block -----------------------------------------------------------------------------------------------
template <int I_> struct Conv {
  static constexpr int C = CHA[I_], O = CHA[I_ + 1], K = KKA[I_], H = HHA[I_], W = WWA[I_];
  static constexpr bool RELU = CRA[I_], BIAS = CBA[I_], LAST = I_ + 1 == NCONV;
  static constexpr int P = K / 2, HP = H + 2 * P, WP = W + 2 * P;   // padded input [HP][WP][C]
  static constexpr int OH = H / 2, OW = W / 2, WIN = OH * OW;
  static constexpr int CELLS = HP * WP * C;                         // scalars of one padded sample
  static constexpr int SIZE = up(CELLS + 4 * L, 16);                // with slack for vectors that stick out
  static constexpr int RV = (K * C + L - 1) / L;                    // vectors of a kernel row
  static constexpr int WV = ((K + 1) * C + L - 1) / L;              // vectors of a window's row
  static constexpr int WEIGHTS = O * C * K * K;
  static constexpr int GROUPS = (O + 3) / 4;

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
    constexpr int p = LAST ? 0 : KKA[I_ + (LAST ? 0 : 1)] / 2;
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

// ---- where things lie in theta and in the work space --------------------------------------------------------------------
constexpr int NP = CHUNK + 16;  // stride of [feature][sample] arrays: whole vectors, and no multiple of 512 bytes
constexpr int conv_size(int i) { return CHA[i + 1] * (CHA[i] * KKA[i] * KKA[i] + CBA[i]); }
constexpr int conv_at(int i) { return i ? conv_at(i - 1) + conv_size(i - 1) : 0; }
constexpr int linear_at(int i) {
  return i ? linear_at(i - 1) + DIMA[i] * (DIMA[i - 1] + LBA[i - 1]) : conv_at(NCONV);
}
constexpr int PARAMETERS = linear_at(NLIN);
constexpr int widest() {
  int w = 0;
  for (int i = 0; i <= NLIN; i++) w = DIMA[i] > w ? DIMA[i] : w;
  return w;
}
constexpr int WIDE = up(widest(), L) + 2 * L;
constexpr int rowT(int i) { return up(DIMA[i], L) + 4 * L; }

struct Layer {            // one convolution's arrays
  T *lanes;               // [blocks if first, else 1][up(CELLS, L)][L]
  T *samples;             // [CHUNK][SIZE]
  uint8_t *at;            // [blocks][O*WIN][L]
  T *packed, *shifted, *acc, *bacc, *dx, *g;
};

struct Work {
  char* base = nullptr;
  Layer conv[NCONV + 1];
  T *act[NLIN + 1], *actT[NLIN + 1], *grad[2], *gs, *scale, *rows;

  template <typename X> void carve(size_t& used, X*& p, size_t count) {
    if (base) p = (X*)(base + used);
    used += (count * sizeof(X) + 127) / 64 * 64;
  }
  template <int I_> void convs(size_t& used) {
    if constexpr (I_ < NCONV) {
      typedef Conv<I_> C;
      Layer& l = conv[I_];
      carve(used, l.lanes, size_t(up(C::CELLS, L)) * L * (I_ ? 1 : CHUNK / L));
      carve(used, l.samples, size_t(C::SIZE) * CHUNK);
      carve(used, l.at, size_t(C::O) * C::WIN * CHUNK);
      carve(used, l.packed, C::PACKED);
      carve(used, l.shifted, C::SHIFTED);
      carve(used, l.acc, C::O * C::K * C::RV * L);
      carve(used, l.bacc, C::O);
      carve(used, l.dx, C::SIZE);
      carve(used, l.g, C::O * C::WIN + L);
      convs<I_ + 1>(used);
    }
  }
  size_t lay() {
    size_t used = 0;
    convs<0>(used);
    for (int i = 0; i <= NLIN; i++) carve(used, act[i], size_t(DIMA[i] + 8) * NP);
    for (int i = 0; i <= NLIN; i++) carve(used, actT[i], size_t(CHUNK) * rowT(i));
    carve(used, grad[0], size_t(WIDE) * NP);
    carve(used, grad[1], size_t(WIDE) * NP);
    carve(used, gs, size_t(L) * (up(DIMA[0], L) + L));
    carve(used, scale, NP);
    carve(used, rows, size_t(L) * (up(DIMA[NLIN], L) + L));
    return used;
  }
  bool ready() {  // zeroed once: borders are never written afterwards
    if (base) return true;
    const size_t size = lay() + 256;
    void* p = nullptr;
    if (posix_memalign(&p, 64, size)) return false;
    memset(p, 0, size);
    base = (char*)p;
    lay();
    return true;
  }
  ~Work() { free(base); }
};
static thread_local Work work;

// ---- the inputs, shared by all models -----------------------------------------------------------------------------------
static void pack_inputs(Work& k, const T* x, int ns) {
  const int blocks = (ns + L - 1) / L;
#if NCONV > 0
  typedef Conv<0> C;
  for (int s = 0; s < ns; s++)
    for (int c = 0; c < C::C; c++)
      for (int y = 0; y < C::H; y++)
        for (int w = 0; w < C::W; w++)
          k.conv[0].samples[s * C::SIZE + ((y + C::P) * C::WP + w + C::P) * C::C + c] =
              x[((int64_t(s) * C::C + c) * C::H + y) * C::W + w];
  const T* from = k.conv[0].samples;
  constexpr int rows = up(C::CELLS, L), stride = C::SIZE, rstride = L;
  T* lanes = k.conv[0].lanes;
  constexpr int64_t bstride = int64_t(rows) * L;
#else
  constexpr int rows = up(DIMA[0], L), stride = rowT(0), rstride = NP;
  for (int s = 0; s < ns; s++) memcpy(k.actT[0] + s * stride, x + int64_t(s) * DIMA[0], DIMA[0] * sizeof(T));
  const T* from = k.actT[0];
  T* lanes = k.act[0];
  constexpr int64_t bstride = L;
#endif
  for (int b = 0; b < blocks; b++)
    for (int r = 0; r < rows; r += L) {
      V a[L];
      for (int i = 0; i < L; i++) a[i] = b * L + i < ns ? loadu(from + int64_t(b * L + i) * stride + r) : V{};
      transpose(a);
      for (int i = 0; i < L; i++) store(lanes + b * bstride + int64_t(r + i) * rstride, a[i]);
    }
}

// ---- forward --------------------------------------------------------------------------------------------------------------
template <int I_, bool KEEP> static void conv_forward(Work& k, const T* theta, const T* in, int b) {
  if constexpr (I_ < NCONV) {
    typedef Conv<I_> C;
    Layer& l = k.conv[I_];
    const T* bias = theta + conv_at(I_) + C::WEIGHTS;
    uint8_t* at = l.at + int64_t(b) * C::O * C::WIN * L;
    if constexpr (C::LAST) {
      C::template forward<KEEP>(in, l.packed, bias, k.act[0] + b * L, NP, at);
    } else {
      typedef Conv<I_ + (C::LAST ? 0 : 1)> N;
      Layer& next = k.conv[I_ + 1];
      C::template forward<KEEP>(in, l.packed, bias, next.lanes, L, at);
      if (KEEP) rows_to_samples(next.lanes, L, N::CELLS, next.samples + int64_t(b) * L * N::SIZE, N::SIZE);
      conv_forward<I_ + 1, KEEP>(k, theta, next.lanes, b);
    }
  }
}

template <int I_> static void prepare(Work& k, const T* theta, bool train) {
  if constexpr (I_ < NCONV) {
    typedef Conv<I_> C;
    C::pack(theta + conv_at(I_), k.conv[I_].packed);
    if (train && I_) C::shift(theta + conv_at(I_), k.conv[I_].shifted);
    prepare<I_ + 1>(k, theta, train);
  }
}

template <int I_> static void clear(Work& k) {
  if constexpr (I_ < NCONV) {
    memset(k.conv[I_].acc, 0, Conv<I_>::O * Conv<I_>::K * Conv<I_>::RV * L * sizeof(T));
    memset(k.conv[I_].bacc, 0, Conv<I_>::O * sizeof(T));
    clear<I_ + 1>(k);
  }
}

template <bool KEEP> static void forward(Work& k, const T* theta, int ns) {
  const int blocks = (ns + L - 1) / L;
  prepare<0>(k, theta, KEEP);
  if (KEEP) clear<0>(k);
#if NCONV > 0
  for (int b = 0; b < blocks; b++)
    conv_forward<0, KEEP>(k, theta, k.conv[0].lanes + int64_t(b) * up(Conv<0>::CELLS, L) * L, b);
#endif
  for (int i = 0; i < NLIN; i++) {
    const T* w = theta + linear_at(i);
    const T* bias = LBA[i] ? w + int64_t(DIMA[i]) * DIMA[i + 1] : nullptr;
    if (KEEP && (i || NCONV))
      for (int b = 0; b < blocks; b++)
        rows_to_samples(k.act[i] + b * L, NP, DIMA[i], k.actT[i] + int64_t(b) * L * rowT(i), rowT(i));
    gemm(w, DIMA[i], 1, k.act[i], NP, k.act[i + 1], NP, DIMA[i + 1], blocks * L, DIMA[i], bias, false, LRA[i]);
  }
  if (SIGMOID)
    for (int c = 0; c < DIMA[NLIN]; c++)
      for (int b = 0; b < blocks; b++) {
        T* p = k.act[NLIN] + c * NP + b * L;
        const V z = load(p), e = exponential(z > V{} ? -z : z);
        store(p, (z > V{} ? splat(1) : e) / (e + T(1)));
      }
}

// ---- backward -------------------------------------------------------------------------------------------------------------
static void loss_gradient(Work& k, const int64_t* y, int ns, T* out) {
  constexpr int C = DIMA[NLIN];
  const T* z = k.act[NLIN];
  for (int b = 0; b < (ns + L - 1) / L; b++) {
    V top = load(z + b * L), total = V{};
    for (int c = 1; c < C; c++) {
      const V v = load(z + c * NP + b * L);
      top = v > top ? v : top;
    }
    for (int c = 0; c < C; c++) {
      const V e = exponential(load(z + c * NP + b * L) - top);
      total += e;
      store(out + c * NP + b * L, e);
    }
    const V w = load(k.scale + b * L), f = w / total;
    for (int c = 0; c < C; c++) store(out + c * NP + b * L, load(out + c * NP + b * L) * f);
  }
  for (int s = 0; s < ns; s++) out[y[s] * NP + s] -= k.scale[s];
  if (SIGMOID)
    for (int c = 0; c < C; c++)
      for (int b = 0; b < (ns + L - 1) / L; b++) {
        const V p = load(z + c * NP + b * L);
        T* d = out + c * NP + b * L;
        store(d, load(d) * p * (T(1) - p));
      }
}

static void mask(T* d, const T* value, int rows, int blocks) {
  for (int r = 0; r < rows; r++)
    for (int b = 0; b < blocks; b++) {
      T* p = d + r * NP + b * L;
      store(p, load(value + r * NP + b * L) <= V{} ? V{} : load(p));
    }
}

template <int I_> static void conv_backward(Work& k, const T* g, int b, int lane) {
  typedef Conv<I_> C;
  Layer& l = k.conv[I_];
  const uint8_t* at = l.at + int64_t(b) * C::O * C::WIN * L + lane;
  const T* in = l.samples + int64_t(b * L + lane) * C::SIZE;
  C::weight_gradient(g, at, in, l.acc, l.bacc);
  if constexpr (I_ > 0) {
    typedef Conv<(I_ ? I_ : 1) - 1> B;
    C::input_gradient(g, at, l.shifted, l.dx);
    T* to = k.conv[I_ - 1].g;
    for (int y = 0; y < C::H; y++) {
      const int64_t row = ((y + C::P) * C::WP + C::P) * C::C;
      for (int i = 0; i < C::W * C::C; i++)
        to[y * C::W * C::C + i] = B::RELU && in[row + i] <= 0 ? T(0) : l.dx[row + i];
    }
    conv_backward<I_ - 1>(k, to, b, lane);
  }
}

template <int I_> static void unpack(Work& k, T* grad, bool add) {
  if constexpr (I_ < NCONV) {
    typedef Conv<I_> C;
    T* to = grad + conv_at(I_);
    for (int o = 0; o < C::O; o++)
      for (int c = 0; c < C::C; c++)
        for (int y = 0; y < C::K; y++)
          for (int x = 0; x < C::K; x++, to++)
            *to = (add ? *to : T(0)) + k.conv[I_].acc[(o * C::K + y) * C::RV * L + x * C::C + c];
    if (C::BIAS)
      for (int o = 0; o < C::O; o++, to++) *to = (add ? *to : T(0)) + k.conv[I_].bacc[o];
    unpack<I_ + 1>(k, grad, add);
  }
}

// Sums over samples into rows of grad [out][in] and its bias, or with EACH one outer product a sample, PARAMETERS apart.
template <bool EACH>
static void linear_gradient(Work& k, int i, const T* d, int ns, T* to, bool add) {
  const int in = DIMA[i], out = DIMA[i + 1];
  T* bias = to + int64_t(in) * out;
  if (EACH) {
    for (int s = 0; s < ns; s++, to += PARAMETERS, bias += PARAMETERS)
      for (int o = 0; o < out; o++) {
        const T f = d[o * NP + s], *row = k.actT[i] + int64_t(s) * rowT(i);
        for (int j = 0; j < in; j++) to[int64_t(o) * in + j] = f * row[j];
        if (LBA[i]) bias[o] = f;
      }
    return;
  }
  gemm(d, NP, 1, k.actT[i], rowT(i), to, in, out, in, ns, nullptr, add, false);
  for (int o = 0; LBA[i] && o < out; o++) {
    V sum = V{};
    for (int b = 0; b < (ns + L - 1) / L; b++) sum += load(d + o * NP + b * L);
    T total = 0;
    for (int j = 0; j < L; j++) total += sum[j];
    bias[o] = (add ? bias[o] : T(0)) + total;
  }
}

template <bool EACH> static void backward(Work& k, const T* theta, const int64_t* y, int ns, T* grad, bool add) {
  const int blocks = (ns + L - 1) / L;
  T *d = k.grad[0], *below = k.grad[1];
  loss_gradient(k, y, ns, d);
  for (int i = NLIN - 1; i >= 0; i--) {
    linear_gradient<EACH>(k, i, d, ns, grad + linear_at(i), add);
    if (i || NCONV) {
      gemm(theta + linear_at(i), 1, DIMA[i], d, NP, below, NP, DIMA[i], blocks * L, DIMA[i + 1], nullptr, false, false);
      if (i ? LRA[i ? i - 1 : 0] : CRA[NCONV ? NCONV - 1 : 0]) mask(below, k.act[i], DIMA[i], blocks);
      std::swap(d, below);
    }
  }
#if NCONV > 0
  constexpr int stride = up(DIMA[0], L) + L;
  for (int b = 0; b < blocks; b++) {
    rows_to_samples(d + b * L, NP, DIMA[0], k.gs, stride);
    for (int lane = 0; lane < L && b * L + lane < ns; lane++) {
      if (EACH) clear<0>(k);
      conv_backward<NCONV - 1>(k, k.gs + lane * stride, b, lane);
      if (EACH) unpack<0>(k, grad + int64_t(b * L + lane) * PARAMETERS, false);
    }
  }
  if (!EACH) unpack<0>(k, grad, add);
#endif
}

// ---- entry points: 0, or 1 when out of memory ------------------------------------------------------------------------------
extern "C" {
int gradient(const T* theta, int64_t tstride, int64_t models, const T* x, const int64_t* y, const T* weight, int64_t n,
             T* grad) {
  Work& k = work;
  if (!k.ready()) return 1;
  for (int64_t at = 0; at < n; at += CHUNK) {
    const int ns = n - at < CHUNK ? n - at : CHUNK;
    pack_inputs(k, x + at * XSIZE, ns);
    for (int64_t m = 0; m < models; m++) {
      T total = n;
      if (weight) {
        total = 0;
        for (int64_t s = 0; s < n; s++) total += weight[m * n + s];
        if (total == 0) {
          memset(grad + m * PARAMETERS, 0, PARAMETERS * sizeof(T));
          continue;
        }
      }
      for (int s = 0; s < NP; s++) k.scale[s] = s < ns ? (weight ? weight[m * n + at + s] : T(1)) / total : T(0);
      forward<true>(k, theta + m * tstride, ns);
      backward<false>(k, theta + m * tstride, y + at, ns, grad + m * PARAMETERS, at > 0);
    }
  }
  return 0;
}

int per_sample(const T* theta, const T* x, const int64_t* y, int64_t n, T* grads) {
  Work& k = work;
  if (!k.ready()) return 1;
  for (int64_t at = 0; at < n; at += CHUNK) {
    const int ns = n - at < CHUNK ? n - at : CHUNK;
    pack_inputs(k, x + at * XSIZE, ns);
    for (int s = 0; s < NP; s++) k.scale[s] = s < ns;
    forward<true>(k, theta, ns);
    backward<true>(k, theta, y + at, ns, grads + at * PARAMETERS, false);
  }
  return 0;
}

int outputs(const T* theta, int64_t tstride, int64_t models, const T* x, int64_t n, T* out) {
  constexpr int C = DIMA[NLIN], stride = up(C, L) + L;
  Work& k = work;
  if (!k.ready()) return 1;
  for (int64_t at = 0; at < n; at += CHUNK) {
    const int ns = n - at < CHUNK ? n - at : CHUNK;
    pack_inputs(k, x + at * XSIZE, ns);
    for (int64_t m = 0; m < models; m++) {
      forward<false>(k, theta + m * tstride, ns);
      for (int b = 0; b < (ns + L - 1) / L; b++) {
        rows_to_samples(k.act[NLIN] + b * L, NP, C, k.rows, stride);
        for (int lane = 0; lane < L && b * L + lane < ns; lane++)
          memcpy(out + (m * n + at + b * L + lane) * C, k.rows + lane * stride, C * sizeof(T));
      }
    }
  }
  return 0;
}
}
