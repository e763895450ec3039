// A thread's work space, and the inputs packed into it.
#pragma once
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "native_shape.h"
#if DENSE
#include "native_norm.h"
#else
#include "native_conv.h"
#endif

constexpr int WIDE = up(widest(), L) + 2 * L;
constexpr int rowT(int i) { return row_of(DIMA[i]); }

struct Work {
  char* base = nullptr;
  Layer conv[NCONV + 1];
  T *act[NLIN + 1], *actT[NLIN + 1];  // values [feature][sample] and [sample][feature] before each linear layer
  T *grad[NLIN + 1], *gs, *scale, *rows;
  T *weight, *squares, *norm, *factor, clip;  // of each sample in flight, for clipping
  I* label;
  T *acc, *sum;  // with DENSE: [CONVS][L] gradients, and clipped sums of them

  template <typename X> void carve(size_t& used, X*& p, size_t count) {
    if (base) p = (X*)(base + used);
    used += (count * sizeof(X) + 127) / 64 * 64;
  }
  template <int I_> void convs(size_t& used) {
    if constexpr (I_ < NCONV) {
      Conv<I_>::carve(conv[I_], [&](auto& p, int64_t count) { carve(used, p, count); });
      convs<I_ + 1>(used);
    }
  }
  size_t lay() {
    size_t used = 0;
    convs<0>(used);
    if (DENSE) carve(used, acc, size_t(CONVS) * L), carve(used, sum, size_t(CONVS) * L);
    for (int i = 0; i <= NLIN; i++) carve(used, act[i], size_t(up(DIMA[i], L) + L) * NP);
    for (int i = 0; i <= NLIN; i++) carve(used, actT[i], size_t(CHUNK) * rowT(i));
    for (int i = 0; i <= NLIN; i++) carve(used, grad[i], size_t(WIDE) * NP);
    for (T** p : {&weight, &squares, &norm, &factor}) carve(used, *p, NP);
    carve(used, gs, size_t(L) * (up(DIMA[0], L) + L));
    carve(used, scale, NP);
    carve(used, label, NP);
    carve(used, rows, size_t(L) * (up(DIMA[NLIN], L) + L));
    return used;
  }
  void ones(int i) {  // the row after the values: what the bias is multiplied with
    for (int s = 0; s < NP; s++) act[i][DIMA[i] * NP + s] = 1;
  }
  bool ready() {  // zeroed once: borders are never written afterwards
    if (base) return true;
    const size_t size = lay() + 256;
    void* p = nullptr;
    if (posix_memalign(&p, 64, size)) return false;
    memset(p, 0, size);
    base = (char*)p;
    lay();
    for (int i = 0; i <= NLIN; i++) ones(i);
    return true;
  }
  ~Work() { free(base); }
};
static thread_local Work work;

// ---- the inputs ---------------------------------------------------------------------------------------------------------
struct Rows {  // samples in flight
  int64_t at[CHUNK];
  int count = 0;
};

// visit(Rows) for all n samples, or those only that have a weight.
template <typename F> static void batches(int64_t n, const T* weight, F&& visit) {
  Rows rows;
  for (int64_t s = 0; s < n; s++) {
    if (weight && weight[s] == 0) continue;
    rows.at[rows.count++] = s;
    if (rows.count < CHUNK) continue;
    visit(rows);
    rows.count = 0;
  }
  if (rows.count) visit(rows);
}

static void pack(Work& k, const T* x, const int64_t* y, const Rows& given) {
  const int ns = given.count, blocks = (ns + L - 1) / L;
#if DENSE
  pack_lanes<Conv<0>>(k.conv[0].lanes, x, given.at, ns);
#else
#if NCONV > 0
  typedef Conv<0> C;
  for (int s = 0; s < ns; s++)
    for (int c = 0; c < C::C; c++)
      for (int y = 0; y < C::H; y++)
        for (int w = 0; w < C::W; w++)
          k.conv[0].samples[s * C::SIZE + ((y + C::P) * C::WP + w + C::P) * C::C + c] =
              x[((given.at[s] * C::C + c) * C::H + y) * C::W + w];
  const T* from = k.conv[0].samples;
  constexpr int rows = up(C::CELLS, L), stride = C::SIZE, rstride = L;
  T* lanes = k.conv[0].lanes;
  constexpr int64_t bstride = int64_t(rows) * L;
#else
  constexpr int rows = up(DIMA[0], L), stride = rowT(0), rstride = NP;
  for (int s = 0; s < ns; s++) memcpy(k.actT[0] + s * stride, x + given.at[s] * DIMA[0], DIMA[0] * sizeof(T));
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
#if NCONV == 0
  k.ones(0);
#endif
#endif
  for (int i = 0; y && i < NP; i++) k.label[i] = i < ns ? y[given.at[i]] : -1;
}

// ---- what passes are for ------------------------------------------------------------------------------------------------
enum Mode { OUTPUTS, SUM, EACH, CLIP };  // outputs, the mean loss's gradient, each sample's own, sums of clipped ones

// What a sample's gradient is multiplied with, from its squared norm; a sample without weight is left out before.
static INLINE T clip_factor(Work& k, int s, T squares) {
  const T norm = std::sqrt(squares);
  k.norm[s] = norm;
  return k.weight[s] * (norm > k.clip ? k.clip / norm : T(1));
}
