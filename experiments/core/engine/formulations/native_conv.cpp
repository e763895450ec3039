// Gradients and outputs of many small models on one batch, one model at a time, single threaded.
//
// Models: any number of [Conv2d(square kernel, stride 1), optional ReLU, MaxPool2d(2)], then Flatten and
// Linear layers, each with an optional ReLU, Tanh or Sigmoid; softmax cross-entropy. The shape comes in as macros:
//   T (float|double)  IS_DOUBLE (0|1)  NCONV  NLIN  XSIZE (scalars of a sample)
//   CH {c0,c1,..} HH {h0,..} WW {w0,..} KK {k1,..} PAD {p1,..} CRELU {..} CBIAS {..}: channels and sizes before each
//      convolution (and after the last)
//   DIM {d0,d1,..} LACT {a1,..} LBIAS {..}: widths of the linear layers, activations as in native_linear.h.
//
// Here: passes through the whole network and the C interface. native_vec.h has vectors, native_product.h small matrix
// products, native_linear.h and native_conv.h one linear layer and one convolution block, native_work.h what lies where
// in memory.
// Built without -ffast-math: NaN and infinity behave as in PyTorch.
#include <cstdint>
#include <cstring>
#include <utility>

#include "native_work.h"

enum Mode { OUTPUTS, SUM, EACH };  // what the pass is for: outputs, the gradient of the mean loss, or each sample's own

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

template <int I_> using LinearAt = Linear<DIMA[I_], DIMA[I_ + 1], LAA[I_], LBA[I_]>;

template <int I_, Mode MODE> static void linear_forward(Work& k, const T* theta, int blocks) {
  if constexpr (I_ < NLIN) {
    typedef LinearAt<I_> Layer;
    const bool inputs = I_ == 0 && NCONV == 0;  // packed in both layouts
    if (!inputs && (MODE == EACH || (MODE == SUM && !Layer::DOTS)))
      for (int b = 0; b < blocks; b++)
        rows_to_samples(k.act[I_] + b * L, NP, DIMA[I_], k.actT[I_] + int64_t(b) * L * rowT(I_), rowT(I_));
    Layer::forward(theta + linear_at(I_), k.act[I_], k.act[I_ + 1], blocks);
    linear_forward<I_ + 1, MODE>(k, theta, blocks);
  }
}

template <Mode MODE> static void forward(Work& k, const T* theta, int ns) {
  constexpr bool KEEP = MODE != OUTPUTS;
  const int blocks = (ns + L - 1) / L;
  prepare<0>(k, theta, KEEP);
  if (KEEP) clear<0>(k);
#if NCONV > 0
  for (int b = 0; b < blocks; b++)
    conv_forward<0, KEEP>(k, theta, k.conv[0].lanes + int64_t(b) * up(Conv<0>::CELLS, L) * L, b);
#endif
  linear_forward<0, MODE>(k, theta, blocks);
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

template <int I_, bool ADD> static void unpack(Work& k, T* grad) {
  if constexpr (I_ < NCONV) {
    typedef Conv<I_> C;
    T* to = grad + conv_at(I_);
    for (int o = 0; o < C::O; o++)
      for (int c = 0; c < C::C; c++)
        for (int y = 0; y < C::K; y++)
          for (int x = 0; x < C::K; x++, to++)
            *to = (ADD ? *to : T(0)) + k.conv[I_].acc[(o * C::K + y) * C::RV * L + x * C::C + c];
    if (C::BIAS)
      for (int o = 0; o < C::O; o++, to++) *to = (ADD ? *to : T(0)) + k.conv[I_].bacc[o];
    unpack<I_ + 1, ADD>(k, grad);
  }
}

// k.grad[0] holds the derivative by what layer I_ gives out; the one by the first layer's inputs is left there.
template <int I_, Mode MODE, bool ADD> static void linear_backward(Work& k, const T* theta, int ns, T* grad) {
  if constexpr (I_ >= 0) {
    typedef LinearAt<I_> Layer;
    T *const d = k.grad[0], *const to = grad + linear_at(I_);
    if (MODE == EACH)
      Layer::sample_gradients(d, k.actT[I_], ns, to, PARAMETERS);
    else
      Layer::template weight_gradient<ADD>(d, k.act[I_], k.actT[I_], ns, to);
    if constexpr (I_ > 0 || NCONV > 0) {
      constexpr int BELOW = I_ ? LAA[I_ ? I_ - 1 : 0] : CRA[NCONV ? NCONV - 1 : 0] ? RELU : NONE;
      Layer::template input_gradient<BELOW>(theta + linear_at(I_), d, k.act[I_], k.grad[1], (ns + L - 1) / L);
      std::swap(k.grad[0], k.grad[1]);
    }
    linear_backward<I_ - 1, MODE, ADD>(k, theta, ns, grad);
  }
}

template <Mode MODE, bool ADD> static void backward(Work& k, const T* theta, int ns, T* grad) {
  const int blocks = (ns + L - 1) / L;
  loss_gradient<DIMA[NLIN], LAA[NLIN - 1]>(k.act[NLIN], k.label, k.scale, blocks, k.grad[0]);
  linear_backward<NLIN - 1, MODE, ADD>(k, theta, ns, grad);
#if NCONV > 0
  constexpr int stride = up(DIMA[0], L) + L;
  for (int b = 0; b < blocks; b++) {
    rows_to_samples(k.grad[0] + b * L, NP, DIMA[0], k.gs, stride);
    for (int lane = 0; lane < L && b * L + lane < ns; lane++) {
      if (MODE == EACH) clear<0>(k);
      conv_backward<NCONV - 1>(k, k.gs + lane * stride, b, lane);
      if (MODE == EACH) unpack<0, false>(k, grad + int64_t(b * L + lane) * PARAMETERS);
    }
  }
  if (MODE == SUM) unpack<0, ADD>(k, grad);
#endif
}

// ---- the weighted mean loss -------------------------------------------------------------------------------------------------
static T total_weight(const T* weight, int64_t n) {
  if (!weight) return n;
  T total = 0;
  for (int64_t s = 0; s < n; s++) total += weight[s];
  return total;
}

// Shares in the mean of the samples at .. at + ns; zero in the lanes after them.
static void share(Work& k, const T* weight, T total, int64_t at, int ns) {
  for (int s = 0; s < NP; s++) k.scale[s] = s < ns ? (weight ? weight[at + s] : T(1)) / total : T(0);
}

static void sum_gradient(Work& k, const T* theta, int ns, T* grad, bool add) {
  forward<SUM>(k, theta, ns);
  add ? backward<SUM, true>(k, theta, ns, grad) : backward<SUM, false>(k, theta, ns, grad);
}

// Gradients [models][PARAMETERS], the samples in chunks that all models share.
static void gradients(Work& k, const T* theta, int64_t tstride, int64_t models, const T* x, const int64_t* y,
                      const T* weight, int64_t n, T* grad) {
  for (int64_t at = 0; at < n; at += CHUNK) {
    const int ns = n - at < CHUNK ? n - at : CHUNK;
    pack(k, x + at * XSIZE, y + at, ns);
    for (int64_t m = 0; m < models; m++) {
      const T* w = weight ? weight + m * n : nullptr;
      const T total = total_weight(w, n);
      if (total == 0) {
        memset(grad + m * PARAMETERS, 0, PARAMETERS * sizeof(T));
        continue;
      }
      share(k, w, total, at, ns);
      sum_gradient(k, theta + m * tstride, ns, grad + m * PARAMETERS, at > 0);
    }
  }
}

static INLINE void move(T* theta, const T* grad, T lr, const T* decay) {
  for (int i = 0; i < PARAMETERS; i++) theta[i] -= lr * (decay ? grad[i] + decay[i] * theta[i] : grad[i]);
}

// ---- entry points: 0, or 1 when out of memory ------------------------------------------------------------------------------
extern "C" {
int gradient(const T* theta, int64_t tstride, int64_t models, const T* x, const int64_t* y, const T* weight, int64_t n,
             T* grad) {
  if (!work.ready()) return 1;
  gradients(work, theta, tstride, models, x, y, weight, n, grad);
  return 0;
}

// `steps` steps theta -= lr * (gradient + decay * theta) of each model; theta [models][PARAMETERS], grad the same as room.
int descend(T* theta, int64_t models, const T* x, const int64_t* y, const T* weight, int64_t n, int64_t steps, T lr,
            const T* decay, T* grad) {
  Work& k = work;
  if (!k.ready()) return 1;
  if (n > CHUNK) {
    for (int64_t step = 0; step < steps; step++) {
      gradients(k, theta, PARAMETERS, models, x, y, weight, n, grad);
      for (int64_t m = 0; m < models; m++) move(theta + m * PARAMETERS, grad + m * PARAMETERS, lr, decay);
    }
    return 0;
  }
  pack(k, x, y, n);  // everything a model needs stays in the cache
  for (int64_t m = 0; m < models; m++, theta += PARAMETERS) {
    const T* w = weight ? weight + m * n : nullptr;
    const T total = total_weight(w, n);
    share(k, w, total == 0 ? T(1) : total, 0, n);
    for (int64_t step = 0; step < steps; step++) {
      sum_gradient(k, theta, n, grad, false);
      move(theta, grad, lr, decay);
    }
  }
  return 0;
}

int per_sample(const T* theta, const T* x, const int64_t* y, int64_t n, T* grads) {
  Work& k = work;
  if (!k.ready()) return 1;
  for (int64_t at = 0; at < n; at += CHUNK) {
    const int ns = n - at < CHUNK ? n - at : CHUNK;
    pack(k, x + at * XSIZE, y + at, ns);
    for (int s = 0; s < NP; s++) k.scale[s] = s < ns;
    forward<EACH>(k, theta, ns);
    backward<EACH, false>(k, theta, ns, grads + at * PARAMETERS);
  }
  return 0;
}

int outputs(const T* theta, int64_t tstride, int64_t models, const T* x, int64_t n, T* out) {
  constexpr int C = DIMA[NLIN], stride = up(C, L) + L;
  Work& k = work;
  if (!k.ready()) return 1;
  for (int64_t at = 0; at < n; at += CHUNK) {
    const int ns = n - at < CHUNK ? n - at : CHUNK;
    pack(k, x + at * XSIZE, nullptr, ns);
    for (int64_t m = 0; m < models; m++) {
      forward<OUTPUTS>(k, theta + m * tstride, ns);
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
