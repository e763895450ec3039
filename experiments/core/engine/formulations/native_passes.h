// Passes through all convolutions, for blocks of L samples: forward; backward into sums, each sample's own, or clipped.
#pragma once
#include "native_work.h"

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

template <bool KEEP> static void convs_forward(Work& k, const T* theta, int blocks) {
  prepare<0>(k, theta, KEEP);
#if NCONV > 0
  for (int b = 0; b < blocks; b++)
    conv_forward<0, KEEP>(k, theta, k.conv[0].lanes + int64_t(b) * up(Conv<0>::CELLS, L) * L, b);
#endif
}

// ---- sums of gradients ------------------------------------------------------------------------------------------------------
template <int I_> static void clear(Work& k, T* Layer::*weights, T* Layer::*biases) {
  if constexpr (I_ < NCONV) {
    memset(k.conv[I_].*weights, 0, Conv<I_>::SUMS * sizeof(T));
    memset(k.conv[I_].*biases, 0, Conv<I_>::O * sizeof(T));
    clear<I_ + 1>(k, weights, biases);
  }
}

// Sum of squares of one sample's gradient.
template <int I_> static T squares(const Work& k) {
  if constexpr (I_ < NCONV) {
    T sum = Conv<I_>::squares(k.conv[I_].acc);
    for (int o = 0; Conv<I_>::BIAS && o < Conv<I_>::O; o++) sum += k.conv[I_].bacc[o] * k.conv[I_].bacc[o];
    return sum + squares<I_ + 1>(k);
  }
  return 0;
}

// Adds one sample's gradient to the clipped sums.
template <int I_> static void add(Work& k, T factor) {
  if constexpr (I_ < NCONV) {
    Layer& l = k.conv[I_];
    for (int i = 0; i < Conv<I_>::SUMS; i += L) store(l.sum + i, load(l.sum + i) + factor * load(l.acc + i));
    for (int o = 0; o < Conv<I_>::O; o++) l.bsum[o] += factor * l.bacc[o];
    add<I_ + 1>(k, factor);
  }
}

template <int I_, bool ADD> static void unpack(Work& k, T* grad, T* Layer::*weights, T* Layer::*biases) {
  if constexpr (I_ < NCONV) {
    typedef Conv<I_> C;
    const T *from = k.conv[I_].*weights, *bias = k.conv[I_].*biases;
    T* to = grad + conv_at(I_);
    for (int o = 0; o < C::O; o++)
      for (int c = 0; c < C::C; c++)
        for (int y = 0; y < C::K; y++)
          for (int x = 0; x < C::K; x++, to++) *to = (ADD ? *to : T(0)) + from[(o * C::K + y) * C::RV * L + x * C::C + c];
    if (C::BIAS)
      for (int o = 0; o < C::O; o++, to++) *to = (ADD ? *to : T(0)) + bias[o];
    unpack<I_ + 1, ADD>(k, grad, weights, biases);
  }
}

// ---- backward -------------------------------------------------------------------------------------------------------------
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

// From k.grad[0], the derivative by the last convolution's results, into grad [PARAMETERS], or [ns][PARAMETERS] with EACH.
template <Mode MODE, bool ADD> static void convs_backward(Work& k, const T* theta, int ns, T* grad) {
#if NCONV > 0
  constexpr int stride = up(DIMA[0], L) + L;
  if (MODE == CLIP) clear<0>(k, &Layer::sum, &Layer::bsum);
  if (MODE == SUM) clear<0>(k, &Layer::acc, &Layer::bacc);
  for (int b = 0; b < (ns + L - 1) / L; b++) {
    rows_to_samples(k.grad[0] + b * L, NP, DIMA[0], k.gs, stride);
    for (int lane = 0; lane < L && b * L + lane < ns; lane++) {
      const int s = b * L + lane;
      if (MODE == CLIP && k.scale[s] == 0) continue;
      if (MODE != SUM) clear<0>(k, &Layer::acc, &Layer::bacc);
      conv_backward<NCONV - 1>(k, k.gs + lane * stride, b, lane);
      if (MODE == EACH) unpack<0, false>(k, grad + int64_t(s) * PARAMETERS, &Layer::acc, &Layer::bacc);
      if (MODE == CLIP) add<0>(k, k.factor[s] = clip_factor(k, s, k.squares[s] + squares<0>(k)));
    }
  }
  if (MODE == SUM) unpack<0, ADD>(k, grad, &Layer::acc, &Layer::bacc);
  if (MODE == CLIP) unpack<0, ADD>(k, grad, &Layer::sum, &Layer::bsum);
#endif
}
