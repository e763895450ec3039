// The gradient of the weighted mean loss, and outputs, of one residual net on one batch, single threaded, on a CPU.
//
// Nets: convolution, normalisation, ReLU; basic blocks (He et al. 2016) of two units, each a convolution and a
// normalisation; mean over positions; a linear layer; softmax cross-entropy. Any shape: it is told when running, in `plan`
// (see Work::read). Macros: T (float|double)  IS_DOUBLE (0|1).
//
// Only what a convolution gives out and the blocks' inputs are stored. Normalisation, ReLU and sums are done again where
// they are needed, on a few samples that are in the cache.
// residual_conv.h has convolutions, residual_norm.h normalisations, residual_work.h the plan and what lies where,
// residual_forward.h and residual_backward.h the passes through the net.
#define NCONV 0
#include "residual_backward.h"

extern "C" {  // 0, or 1 when out of memory

// theta [size], whose running statistics move; x [n][H][W][C]; y, share [n + more]: of each sample's loss in the mean.
// cut, sampled, features: see Pass; more 0 and features null for nothing.
int gradient(const int64_t* plan, int64_t count, const double* reals, T* theta, const T* x, const int64_t* y,
             const T* share, int64_t n, T* grad, int64_t cut, const T* sampled, int64_t more, T* features) {
  if (!work.ready(plan, count, reals, n + more)) return 1;
  const Pass pass = {x, n, more, cut, sampled, features};
  forward(work, theta, pass, true);
  backward(work, theta, pass, y, share, grad);
  return 0;
}

// out [n][classes], in evaluation mode; theta stays as it is.
int outputs(const int64_t* plan, int64_t count, const double* reals, T* theta, const T* x, int64_t n, T* out) {
  if (!work.ready(plan, count, reals, n)) return 1;
  forward(work, theta, {x, n, 0, 0, nullptr, nullptr}, false);
  memcpy(out, work.logits, n * work.classes * sizeof(T));
  return 0;
}
}
