// Gradients and outputs of many small models on one batch, one model at a time, single threaded.
//
// Models: any number of [Conv2d(odd kernel, same padding, stride 1), optional ReLU, MaxPool2d(2)], then Flatten and
// Linear layers with optional ReLU, optionally a last Sigmoid; softmax cross-entropy. The shape comes in as macros:
//   T (float|double)  IS_DOUBLE (0|1)  VB (bytes of a vector)  NCONV  NLIN  SIGMOID (0|1)  XSIZE (scalars of a sample)
//   CH {c0,c1,..} HH {h0,..} WW {w0,..} KK {k1,..} CRELU {..} CBIAS {..}: channels and sizes before each
//      convolution (and after the last)
//   DIM {d0,d1,..} LRELU {..} LBIAS {..}: widths of the linear layers.
//
// Here: passes through the whole network and the C interface. native_vec.h has vectors and small matrix products,
// native_conv.h one convolution block, native_work.h what lies where in memory.
// Built without -ffast-math: NaN and infinity behave as in PyTorch.
#include <cstdint>
#include <cstring>
#include <utility>

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
