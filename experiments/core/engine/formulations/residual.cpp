// The gradient of the weighted mean loss, and outputs, of one residual net on one batch, single threaded, on a CPU.
//
// Nets: convolution, normalisation, ReLU; basic blocks (He et al. 2016) of two units, each a convolution and a
// normalisation; mean over positions; a linear layer; softmax cross-entropy. Any shape: it is told when running, in `plan`
// (see Work::read). Macros: T (float|double)  IS_DOUBLE (0|1).
//
// Only what a convolution gives out and the blocks' inputs are stored. Normalisation, ReLU and sums are done again where
// they are needed, on a few samples that are in the cache.
// residual_conv.h has convolutions, residual_norm.h normalisations, residual_work.h the plan and what lies where,
// residual_forward.h and residual_backward.h the passes through the net, residual_clip.h one sample's gradient.
#define NCONV 0
#include "residual_clip.h"

static void prepare(const Work& k, const T* theta, bool train) {
  for (int64_t i = 0; i < k.units; i++) k.unit[i].conv.prepare(theta, train);
}

extern "C" {  // 0, or 1 when out of memory

// theta [size], whose running statistics move; x [n][H][W][C]; y, share [n + more]: of each sample's loss in the mean.
// cut, sampled, features: see Pass; more 0 and features null for nothing. grad: zeros.
int gradient(const int64_t* plan, int64_t count, const double* reals, T* theta, const T* x, const int64_t* y,
             const T* share, int64_t n, T* grad, int64_t cut, const T* sampled, int64_t more, T* features) {
  Work& k = work;
  k.read(plan, reals);
  const int64_t size = k.batched() ? n + more : k.piece();
  if (!k.ready(plan, count, reals, size)) return 1;
  prepare(k, theta, true);
  const auto pass = [&](const Pass& p, int64_t at) {
    forward(k, theta, p, true);
    backward(k, theta, p, y + at, share + at, grad);
  };
  if (k.batched()) {
    pass({x, n, more, cut, sampled, features}, 0);
  } else {
    const int64_t inputs = k.image.size(), there = k.cells(cut);
    chunks(n, size, [&](int64_t s, int64_t here) {
      pass({x + s * inputs, here, 0, cut, nullptr, features ? features + s * there : nullptr}, s);
    });
    chunks(more, size, [&](int64_t s, int64_t here) { pass({x, 0, here, cut, sampled + s * there, nullptr}, n + s); });
  }
  for (int64_t i = 0; i < k.units; i++) {
    const Conv& c = k.unit[i].conv;
    c.finish(c.collect(c.taps), grad);
  }
  return 0;
}

// total [p] zeros: the sum of weight[s] * min(1, clip / norm) * gradient over the samples; norms [n], 0 where the weight is;
// one [p] scratch. Only where no normalisation is by the batch.
int clipped(const int64_t* plan, int64_t count, const double* reals, T* theta, const T* x, const int64_t* y,
            const T* weight, int64_t n, T clip, T* total, T* norms, T* one, int64_t p) {
  Work& k = work;
  k.read(plan, reals);
  if (!k.ready(plan, count, reals, 1)) return 1;
  prepare(k, theta, true);
  for (int64_t i = 0; i < k.units; i++) memset(k.unit[i].sum, 0, k.unit[i].conv.size() * sizeof(T));
  for (int64_t s = 0; s < n; s++) {
    norms[s] = 0;
    if (weight[s] == 0) continue;
    gradient_of_one(k, theta, x + s * k.image.size(), y + s, one, p);
    norms[s] = std::sqrt(squares(k, one, p));
    add(k, weight[s] * (norms[s] > clip ? clip / norms[s] : T(1)), one, total, p);
  }
  for (int64_t i = 0; i < k.units; i++) k.unit[i].conv.finish(k.unit[i].sum, total);
  return 0;
}

// out [n][classes], in evaluation mode; theta stays as it is.
int outputs(const int64_t* plan, int64_t count, const double* reals, T* theta, const T* x, int64_t n, T* out) {
  Work& k = work;
  k.read(plan, reals);
  const int64_t size = k.piece();
  if (!k.ready(plan, count, reals, size)) return 1;
  prepare(k, theta, false);
  chunks(n, size, [&](int64_t s, int64_t here) {
    forward(k, theta, {x + s * k.image.size(), here, 0, 0, nullptr, nullptr}, false);
    memcpy(out + s * k.classes, k.logits, here * k.classes * sizeof(T));
  });
  return 0;
}
}
