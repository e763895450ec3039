// As native_passes.h, where the convolutions' gradients are dense: one for every lane, in theta's order.
#pragma once
#include "native_work.h"

// Block b from the inputs in k.conv[I_].lanes to k.act[0]. Without KEEP all blocks use the first one's places.
template <int I_, bool KEEP> static void conv_forward(Work& k, const T* theta, int b) {
  typedef Conv<I_> C;
  const T* own = theta + conv_at(I_);
  if constexpr (C::LAST) {
    C::template forward<KEEP>(k.conv[I_], own, b, k.act[0] + b * L, NP);
  } else {
    typedef Conv<I_ + (C::LAST ? 0 : 1)> N;
    C::template forward<KEEP>(k.conv[I_], own, b, k.conv[I_ + 1].lanes + int64_t(b) * up(N::CELLS, L) * L, L);
    conv_forward<I_ + 1, KEEP>(k, theta, b);
  }
}

template <int I_> static void prepare(Work& k, const T* theta, bool train) {
  if constexpr (I_ < NCONV) {
    Conv<I_>::pack(theta + conv_at(I_), k.conv[I_].packed, train && I_ ? k.conv[I_].flipped : nullptr);
    prepare<I_ + 1>(k, theta, train);
  }
}

template <bool KEEP> static void convs_forward(Work& k, const T* theta, int blocks) {
  prepare<0>(k, theta, KEEP);
  for (int b = 0; b < blocks; b++) conv_forward<0, KEEP>(k, theta, b);
}

// Adds block b's gradients to k.acc.
template <int I_> static void conv_backward(Work& k, const T* theta, int b) {
  typedef Conv<I_> C;
  const Layer& l = k.conv[I_];
  T* acc = k.acc + int64_t(conv_at(I_)) * L;
  const auto g = [&](int o, int y, int x) FLAT {
    if constexpr (C::LAST) return load(k.grad[0] + C::rank(o, y, x) * NP + b * L);
    typedef Conv<I_ + (C::LAST ? 0 : 1)> N;
    const Layer& next = k.conv[I_ + (C::LAST ? 0 : 1)];
    const V value = load(next.lanes + (int64_t(b) * up(N::CELLS, L) + C::where(o, y, x)) * L);
    return derived<C::ACT>(load(next.dx + C::rank(o, y, x) * L), value);
  };
  C::spread(l, theta + conv_at(I_), b, g, acc);
  C::weight_gradient(l, b, acc);
  if constexpr (I_ > 0) {
    C::input_gradient(l);
    conv_backward<I_ - 1>(k, theta, b);
  }
}

// Every lane's own gradient -> rows PARAMETERS apart.
static void each_lane(const T* acc, int lanes, T* to) {
  for (int i = 0; i < CONVS; i += L) {
    V a[L];
    for (int j = 0; j < L; j++) a[j] = i + j < CONVS ? load(acc + (i + j) * L) : V{};
    transpose(a);
    for (int s = 0; s < lanes; s++)
      if (i + L <= CONVS)
        storeu(to + int64_t(s) * PARAMETERS + i, a[s]);
      else
        for (int j = 0; i + j < CONVS; j++) to[int64_t(s) * PARAMETERS + i + j] = a[s][j];
  }
}

template <bool ADD> static void over_lanes(const T* acc, T* to) {
  for (int i = 0; i < CONVS; i += L) {
    V a[L];
    for (int j = 0; j < L; j++) a[j] = i + j < CONVS ? load(acc + (i + j) * L) : V{};
    const V sums = lane_sums(a);
    if (i + L <= CONVS)
      storeu(to + i, ADD ? loadu(to + i) + sums : sums);
    else
      for (int j = 0; i + j < CONVS; j++) to[i + j] = ADD ? to[i + j] + sums[j] : sums[j];
  }
}

// k.acc holds block b's gradients: clips them and adds them to k.sum.
static void clip_block(Work& k, int b) {
  const V own = summed(CONVS, [&](int i) FLAT { return load(k.acc + i * L) * load(k.acc + i * L); });
  for (int s = b * L; s < b * L + L; s++)
    if (k.scale[s] != 0) k.factor[s] = clip_factor(k, s, k.squares[s] + own[s - b * L]);
  const V factor = load(k.factor + b * L);
  for (int i = 0; i < CONVS; i++) store(k.sum + i * L, load(k.sum + i * L) + factor * load(k.acc + i * L));
}

// See native_passes.h.
template <Mode MODE, bool ADD> static void convs_backward(Work& k, const T* theta, int ns, T* grad) {
  if (MODE == SUM) memset(k.acc, 0, CONVS * L * sizeof(T));
  if (MODE == CLIP) memset(k.sum, 0, CONVS * L * sizeof(T));
  for (int b = 0; b * L < ns; b++) {
    if (MODE == CLIP) {
      bool any = false;
      for (int s = b * L; s < b * L + L; s++) any |= k.scale[s] != 0;
      if (!any) continue;
    }
    if (MODE != SUM) memset(k.acc, 0, CONVS * L * sizeof(T));
    conv_backward<NCONV - 1>(k, theta, b);
    if (MODE == EACH) each_lane(k.acc, ns - b * L < L ? ns - b * L : L, grad + int64_t(b * L) * PARAMETERS);
    if (MODE == CLIP) clip_block(k, b);
  }
  if (MODE == SUM) over_lanes<ADD>(k.acc, grad);
  if (MODE == CLIP) over_lanes<ADD>(k.sum, grad);
}
