// Gradients and outputs of many small models on one batch, one model at a time, single threaded.
//
// Models: any number of [Conv2d(square kernel, stride 1), optional GroupNorm, optional activation, MaxPool2d(2)], then
// Flatten and Linear layers, each with an optional activation: ReLU, Tanh or Sigmoid; softmax cross-entropy. The shape
// comes in as macros:
//   T (float|double)  IS_DOUBLE (0|1)  NCONV  NLIN  XSIZE (scalars of a sample)
//   DENSE (0|1): whether a convolution is followed by GroupNorm, or by another activation than ReLU
//   CH {c0,c1,..} HH {h0,..} WW {w0,..} KK {k1,..} PAD {p1,..} CACT {a1,..} CBIAS {..} CGROUPS {..} CEPS {..}: channels
//      and sizes before each convolution (and after the last), activations, groups (0: no norm)
//   DIM {d0,d1,..} LACT {a1,..} LBIAS {..}: widths of the linear layers, activations as in native_linear.h.
//
// Here: passes through the whole network and the C interface. native_vec.h has vectors, native_product.h small matrix
// products, native_linear.h one linear layer, native_conv.h and native_norm.h (on native_slide.h) one convolution block,
// native_passes.h and native_norm_passes.h passes through all of them, native_work.h and native_shape.h what lies where in
// memory.
// Built without -ffast-math: NaN and infinity behave as in PyTorch.
#include <cstdint>
#include <cstring>
#include <utility>

#if DENSE
#include "native_norm_passes.h"
#else
#include "native_passes.h"
#endif

template <int I_> using LinearAt = Linear<DIMA[I_], DIMA[I_ + 1], LAA[I_], LBA[I_]>;

// The activation that made the inputs of linear layer i.
constexpr int below(int i) { return i ? LAA[i ? i - 1 : 0] : NCONV ? CAA[NCONV ? NCONV - 1 : 0] : NONE; }

template <int I_, Mode MODE> static void linear_forward(Work& k, const T* theta, int blocks) {
  if constexpr (I_ < NLIN) {
    typedef LinearAt<I_> Layer;
    const bool inputs = I_ == 0 && NCONV == 0;  // packed in both layouts
    if (!inputs && (MODE == EACH || (MODE != OUTPUTS && !Layer::DOTS)))
      for (int b = 0; b < blocks; b++)
        rows_to_samples(k.act[I_] + b * L, NP, DIMA[I_], k.actT[I_] + int64_t(b) * L * rowT(I_), rowT(I_));
    Layer::forward(theta + linear_at(I_), k.act[I_], k.act[I_ + 1], blocks);
    linear_forward<I_ + 1, MODE>(k, theta, blocks);
  }
}

template <Mode MODE> static void forward(Work& k, const T* theta, int ns) {
  const int blocks = (ns + L - 1) / L;
  convs_forward<MODE != OUTPUTS>(k, theta, blocks);
  linear_forward<0, MODE>(k, theta, blocks);
}

// ---- backward -------------------------------------------------------------------------------------------------------------
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
      Layer::template input_gradient<below(I_)>(theta + linear_at(I_), d, k.act[I_], k.grad[1], (ns + L - 1) / L);
      std::swap(k.grad[0], k.grad[1]);
    }
    linear_backward<I_ - 1, MODE, ADD>(k, theta, ns, grad);
  }
}

template <Mode MODE, bool ADD> static void backward(Work& k, const T* theta, int ns, T* grad) {
  loss_gradient<DIMA[NLIN], LAA[NLIN - 1]>(k.act[NLIN], k.label, k.scale, (ns + L - 1) / L, k.grad[0]);
  linear_backward<NLIN - 1, MODE, ADD>(k, theta, ns, grad);
  convs_backward<MODE, ADD>(k, theta, ns, grad);
}

// ---- clipped --------------------------------------------------------------------------------------------------------------
// As linear_backward, but only down to k.grad[0] and every sample's squared norm so far: |outer product| = |d| |inputs|.
// The derivative by what layer I_ gives out stays in k.grad[I_ + 1].
template <int I_> static void linear_squares(Work& k, const T* theta, int ns) {
  if constexpr (I_ >= 0) {
    typedef LinearAt<I_> Layer;
    const T* d = k.grad[I_ + 1];
    Layer::squares(d, k.act[I_], (ns + L - 1) / L, k.squares);
    if constexpr (I_ > 0 || NCONV > 0)
      Layer::template input_gradient<below(I_)>(theta + linear_at(I_), d, k.act[I_], k.grad[I_], (ns + L - 1) / L);
    linear_squares<I_ - 1>(k, theta, ns);
  }
}

template <int I_> static void linear_sums(Work& k, int ns, T* grad) {
  if constexpr (I_ < NLIN) {
    T* d = k.grad[I_ + 1];
    for (int o = 0; o < DIMA[I_ + 1]; o++)
      for (int s = 0; s < ns; s += L) store(d + o * NP + s, load(d + o * NP + s) * load(k.factor + s));
    LinearAt<I_>::template weight_gradient<true>(d, k.act[I_], k.actT[I_], ns, grad + linear_at(I_));
    linear_sums<I_ + 1>(k, ns, grad);
  }
}

// Adds the weighted sum of the clipped gradients, after a forward pass; k.norm gets the norms.
static void backward_clipped(Work& k, const T* theta, int ns, T* grad) {
  memset(k.squares, 0, NP * sizeof(T)), memset(k.factor, 0, NP * sizeof(T)), memset(k.norm, 0, NP * sizeof(T));
  loss_gradient<DIMA[NLIN], LAA[NLIN - 1]>(k.act[NLIN], k.label, k.scale, (ns + L - 1) / L, k.grad[NLIN]);
  linear_squares<NLIN - 1>(k, theta, ns);
  if (NCONV)
    convs_backward<CLIP, true>(k, theta, ns, grad);
  else
    for (int s = 0; s < ns; s++)
      if (k.scale[s] != 0) k.factor[s] = clip_factor(k, s, k.squares[s]);
  linear_sums<0>(k, ns, grad);
}

// ---- the weighted mean loss -------------------------------------------------------------------------------------------------
static T total_weight(const T* weight, int64_t n) {
  if (!weight) return n;
  T total = 0;
  for (int64_t s = 0; s < n; s++) total += weight[s];
  return total;
}

// Shares in the mean of the samples in flight; zero in the lanes after them.
static void share(Work& k, const T* weight, T total, const Rows& rows) {
  for (int s = 0; s < NP; s++) k.scale[s] = s < rows.count ? (weight ? weight[rows.at[s]] : T(1)) / total : T(0);
}

static void sum_gradient(Work& k, const T* theta, int ns, T* grad, bool add) {
  forward<SUM>(k, theta, ns);
  add ? backward<SUM, true>(k, theta, ns, grad) : backward<SUM, false>(k, theta, ns, grad);
}

// Whether so many samples have no weight that it pays to pack the others for this model alone.
static bool thin(const T* weight, int64_t n) {
  if (NCONV == 0 || !weight) return false;
  int64_t zeros = 0;
  for (int64_t s = 0; s < n; s++) zeros += weight[s] == 0;
  return 6 * zeros > n;
}

// step(model, its weights or null, Rows) after the samples are packed: for all models together where they use most samples.
template <typename F>
static void each_batch(Work& k, int64_t models, const T* x, const int64_t* y, const T* weight, int64_t n, F&& step) {
  const auto own = [=](int64_t m) { return weight ? weight + m * n : nullptr; };
  int64_t shared = 0;
  for (int64_t m = 0; m < models; m++) {
    if (!thin(own(m), n)) shared++;
    else batches(n, own(m), [&](const Rows& rows) { pack(k, x, y, rows), step(m, own(m), rows); });
  }
  if (shared) batches(n, nullptr, [&](const Rows& rows) {
    pack(k, x, y, rows);
    for (int64_t m = 0; m < models; m++)
      if (!thin(own(m), n)) step(m, own(m), rows);
  });
}

// Gradients [models][PARAMETERS].
static void gradients(Work& k, const T* theta, int64_t tstride, int64_t models, const T* x, const int64_t* y,
                      const T* weight, int64_t n, T* grad) {
  memset(grad, 0, models * PARAMETERS * sizeof(T));
  each_batch(k, models, x, y, weight, n, [&](int64_t m, const T* own, const Rows& rows) {
    const T total = total_weight(own, n);
    if (total == 0) return;
    share(k, own, total, rows);
    sum_gradient(k, theta + m * tstride, rows.count, grad + m * PARAMETERS, true);
  });
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
  Rows all;
  batches(n, nullptr, [&](const Rows& rows) { all = rows; });
  pack(k, x, y, all);  // everything a model needs stays in the cache
  for (int64_t m = 0; m < models; m++, theta += PARAMETERS) {
    const T* w = weight ? weight + m * n : nullptr;
    const T total = total_weight(w, n);
    share(k, w, total == 0 ? T(1) : total, all);
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
  batches(n, nullptr, [&](const Rows& rows) {
    pack(k, x, y, rows);
    for (int s = 0; s < NP; s++) k.scale[s] = s < rows.count;
    forward<EACH>(k, theta, rows.count);
    backward<EACH, false>(k, theta, rows.count, grads + rows.at[0] * PARAMETERS);
  });
  return 0;
}

// total [models][PARAMETERS]: sums of weight * min(1, clip / norm) * gradient over the samples; norms [models][n], 0 where
// a weight is.
int clipped(const T* theta, int64_t tstride, int64_t models, const T* x, const int64_t* y, const T* weight, int64_t n,
            T clip, T* total, T* norms) {
  Work& k = work;
  if (!k.ready()) return 1;
  k.clip = clip;
  memset(total, 0, models * PARAMETERS * sizeof(T)), memset(norms, 0, models * n * sizeof(T));
  each_batch(k, models, x, y, weight, n, [&](int64_t m, const T* own, const Rows& rows) {
    for (int s = 0; s < NP; s++) k.weight[s] = s >= rows.count ? T(0) : own ? own[rows.at[s]] : T(1);
    for (int s = 0; s < NP; s++) k.scale[s] = k.weight[s] != 0;
    forward<CLIP>(k, theta + m * tstride, rows.count);
    backward_clipped(k, theta + m * tstride, rows.count, total + m * PARAMETERS);
    for (int s = 0; s < rows.count; s++) norms[m * n + rows.at[s]] = k.norm[s];
  });
  return 0;
}

int outputs(const T* theta, int64_t tstride, int64_t models, const T* x, int64_t n, T* out) {
  constexpr int C = DIMA[NLIN], stride = up(C, L) + L;
  Work& k = work;
  if (!k.ready()) return 1;
  each_batch(k, models, x, nullptr, nullptr, n, [&](int64_t m, const T*, const Rows& rows) {
    forward<OUTPUTS>(k, theta + m * tstride, rows.count);
    for (int b = 0; b < (rows.count + L - 1) / L; b++) {
      rows_to_samples(k.act[NLIN] + b * L, NP, C, k.rows, stride);
      for (int lane = 0; lane < L && b * L + lane < rows.count; lane++)
        memcpy(out + (m * n + rows.at[0] + b * L + lane) * C, k.rows + lane * stride, C * sizeof(T));
    }
  });
  return 0;
}
}
