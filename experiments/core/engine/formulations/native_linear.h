// One linear layer with its activation, forward and backward. Arrays are [feature][sample], NP apart, samples in lanes.
#pragma once
#include "native_product.h"

constexpr int CHUNK = DENSE ? 32 : 128;  // samples in flight: bounds the work space
constexpr int NP = CHUNK + 16;  // stride of [feature][sample] arrays: whole vectors, and no multiple of 512 bytes
constexpr int row_of(int width) { return up(width, L) + 4 * L; }  // stride of [sample][feature] arrays
enum Activation { NONE, RELU, TANH, SIGMOID };

template <int ACT> static INLINE V activated(V v) {
  if constexpr (ACT == RELU) return relu(v);
  if constexpr (ACT == TANH) return hyperbolic_tangent(v);
  if constexpr (ACT == SIGMOID) return logistic(v);
  return v;
}

// Derivative by what comes out -> by what went in, from the value that came out.
template <int ACT> static INLINE V derived(V d, V value) {
  if constexpr (ACT == RELU) return value <= V{} ? V{} : d;
  if constexpr (ACT == TANH) return d * (T(1) - value * value);
  if constexpr (ACT == SIGMOID) return d * value * (T(1) - value);
  return d;
}

template <int IN, int OUT, int ACT, bool BIAS> struct Linear {
  static constexpr int WEIGHTS = IN * OUT;
  static constexpr bool DOTS = IN < 3 * L;  // few inputs: sums over samples need no transposed values

  static void forward(const T* w, const T* in, T* out, int blocks) {
    const T* bias = BIAS ? w + WEIGHTS : nullptr;
    constexpr bool HERE = ACT == NONE || ACT == RELU;  // longer functions would be repeated all over a register block
    product<OUT>(w, IN, 1, in, NP, blocks, IN, bias, [=](V v, int o, int b) FLAT {
      store(out + o * NP + b * L, HERE ? activated<HERE ? ACT : NONE>(v) : v);
    });
    if (!HERE)
      for (int o = 0; o < OUT; o++)
        for (int b = 0; b < blocks; b++) {
          T* p = out + o * NP + b * L;
          store(p, activated<ACT>(load(p)));
        }
  }

  // d: derivative by what this layer gives out, before its activation. BELOW: the activation that made `in`.
  template <int BELOW> static void input_gradient(const T* w, const T* d, const T* in, T* below, int blocks) {
    product<IN>(w, 1, IN, d, NP, blocks, OUT, nullptr, [=](V v, int i, int b) FLAT {
      store(below + i * NP + b * L, derived<BELOW>(v, load(in + i * NP + b * L)));
    });
  }

  // Sums over samples into `to`: weights [OUT][IN], bias. in: with a row of ones after it; inT: only without DOTS.
  template <bool ADD> static void weight_gradient(const T* d, const T* in, const T* inT, int ns, T* to) {
    const int blocks = (ns + L - 1) / L;
    const auto put = [=](T sum, T* p) FLAT { *p = ADD ? *p + sum : sum; };
    if constexpr (DOTS) {
      dots<OUT, IN + BIAS>(d, in, NP, blocks, [=](T sum, int o, int i) FLAT {
        put(sum, to + (i < IN ? o * IN + i : WEIGHTS + o));
      });
      return;
    }
    product<OUT>(d, NP, 1, inT, row_of(IN), (IN + L - 1) / L, ns, nullptr, [=](V v, int o, int b) FLAT {
      T* p = to + int64_t(o) * IN + b * L;
      if (IN % L && b == IN / L)  // this vector sticks out of the row
        for (int l = 0; l < IN % L; l++) put(v[l], p + l);
      else
        storeu(p, ADD ? loadu(p) + v : v);
    });
    if (BIAS)
      dots<OUT, 1>(d, in + IN * NP, NP, blocks, [=](T sum, int o, int) FLAT { put(sum, to + WEIGHTS + o); });
  }

  // Adds each sample's squared norm of the same: it is an outer product.
  static void squares(const T* d, const T* in, int blocks, T* to) {
    for (int b = 0; b < blocks; b++) {
      V by = V{}, values = splat(BIAS);
      for (int o = 0; o < OUT; o++) by += load(d + o * NP + b * L) * load(d + o * NP + b * L);
      for (int i = 0; i < IN; i++) values += load(in + i * NP + b * L) * load(in + i * NP + b * L);
      store(to + b * L, load(to + b * L) + by * values);
    }
  }

  // The same, not summed: one outer product a sample, `apart` scalars from the next.
  static void sample_gradients(const T* d, const T* inT, int ns, T* to, int64_t apart) {
    for (int s = 0; s < ns; s++, to += apart)
      for (int o = 0; o < OUT; o++) {
        const T f = d[o * NP + s], *row = inT + int64_t(s) * row_of(IN);
        for (int i = 0; i < IN; i++) to[int64_t(o) * IN + i] = f * row[i];
        if (BIAS) to[WEIGHTS + o] = f;
      }
  }
};

// Derivative of the weighted cross-entropy by z [C] before the activation ACT that made them.
template <int C, int ACT> static void loss_gradient(const T* z, const I* label, const T* scale, int blocks, T* out) {
  for (int b = 0; b < blocks; b++, z += L, label += L, scale += L, out += L) {
    V top = load(z), total = V{};
    for (int c = 1; c < C; c++) {
      const V v = load(z + c * NP);
      top = v > top ? v : top;
    }
    for (int c = 0; c < C; c++) {
      const V e = exponential(load(z + c * NP) - top);
      total += e;
      store(out + c * NP, e);
    }
    const V w = load(scale), f = w / total;
    const VI own = *(const VI*)label;
    for (int c = 0; c < C; c++) {
      const V d = load(out + c * NP) * f - (own == VI{} + c ? w : V{});
      store(out + c * NP, derived<ACT>(d, load(z + c * NP)));
    }
  }
}
