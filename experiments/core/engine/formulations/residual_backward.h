// The backward pass.
#pragma once
#include "residual_forward.h"

static void gauge(const Unit& u, const T* g, int64_t s) {
  const Image& m = u.conv.out;
  u.norm.gauge(g, u.z + s * m.size(), m.H * m.W, s);
}
static void gauge(const Work& k, const Block& block, const T* g, int64_t s) {
  gauge(k.unit[block.second], g, s);
  if (block.shortcut >= 0) gauge(k.unit[block.shortcut], g, s);
}
static void derive(const Unit& u, const T* theta, T* grad, int64_t n) {
  u.norm.derive(theta, grad, n, u.conv.out.H * u.conv.out.W);
}

// Softmax cross-entropy, linear layer, mean: the gradient by the last block's sum, masked, into g.
static void head_backward(const Work& k, const T* theta, const int64_t* y, const T* share, const Pass& p, T* grad,
                          T* g) {
  const Image& m = k.last();
  for (int64_t s = 0; s < p.n + p.more; s++) {
    T *z = k.logits + s * k.classes, *d = k.dpooled + s * m.C, largest = z[0], total = 0;
    for (int64_t o = 1; o < k.classes; o++) largest = z[o] > largest ? z[o] : largest;
    for (int64_t o = 0; o < k.classes; o++) total += z[o] = std::exp(z[o] - largest);
    memset(d, 0, m.C * sizeof(T));
    for (int64_t o = 0; o < k.classes; o++) {
      const T slope = share[s] * (z[o] / total - (o == y[s]));
      if (k.bias >= 0) grad[k.bias + o] += slope;
      for (int64_t c = 0; c < m.C; c++) {
        grad[k.weight + o * m.C + c] += slope * k.pooled[s * m.C + c];
        d[c] += slope * theta[k.weight + o * m.C + c];
      }
    }
    for (int64_t c = 0; s < p.seen_by(k.blocks - 1) && c < m.C; c += L) {
      const V each_one = load(d + c) / T(m.H * m.W);
      each(m, c, [&](int64_t i, int64_t) FLAT {
        store(g + s * m.size() + i, kept(each_one, load(k.top + s * m.size() + i)));
      });
    }
  }
}

// g (the gradient by a unit's normalised outputs) -> by z, and what its weights get out of it.
static void unit_backward(const Work& k, const Unit& u, const T* g, const T* input, int64_t apart, int64_t s0, int64_t count) {
  const Image& m = u.conv.out;
  for (int64_t s = s0; s < s0 + count; s++)
    u.norm.backward(m, g + s * m.size(), u.z + s * m.size(), s, u.dz + (s - s0) * m.padded());
  u.conv.weight_gradient(input, apart, u.dz, count, k.v, k.m);
}

// Through the second unit of a block: g -> inner, the gradient by the first unit's normalised outputs, masked.
static void second_backward(const Work& k, const Block& block, const T* g, T* inner, int64_t s0, int64_t count) {
  const Unit &one = k.unit[block.first], &two = k.unit[block.second];
  const Image& m = two.conv.in;
  for (int64_t s = s0; s < s0 + count; s++) activate(one, s, two.input + (s - s0) * m.padded());
  unit_backward(k, two, g, two.input, m.padded(), s0, count);
  two.conv.backward<false>(two.dz, count, k.d, k.v, k.m);
  for (int64_t s = s0; s < s0 + count; s++) {
    const T *d = k.d + (s - s0) * m.size(), *value = two.input + (s - s0) * m.padded();
    T* to = inner + s * m.size();
    for (int64_t c = 0; c < m.C; c += L)
      each(m, c, [&](int64_t i, int64_t p) FLAT { store(to + i, kept(load(d + i), load(value + p))); });
    gauge(one, to, s);
  }
}

// Through the first unit and the shortcut: inner and g -> before, the gradient by the sum before the block, masked; only
// the weights' gradients where `before` is null.
static void first_backward(const Work& k, const Block& block, const T* inner, const T* g, T* before, int64_t s0, int64_t count) {
  const Unit& one = k.unit[block.first];
  const Image& m = one.conv.in;
  const T* x = block.x + s0 * m.padded();
  unit_backward(k, one, inner, x, m.padded(), s0, count);
  if (before) one.conv.backward<false>(one.dz, count, k.d, k.v, k.m);
  if (block.shortcut >= 0) {
    const Unit& u = k.unit[block.shortcut];
    unit_backward(k, u, g, x, m.padded(), s0, count);
    if (before) u.conv.backward<true>(u.dz, count, k.d, k.v, k.m);
  }
  if (!before) return;
  for (int64_t s = 0; s < count; s++) {
    const T *d = k.d + s * m.size(), *direct = g + (s0 + s) * m.size(), *value = x + s * m.padded();
    T* to = before + (s0 + s) * m.size();
    for (int64_t c = 0; c < m.C; c += L)
      if (block.shortcut < 0)
        each(m, c, [&](int64_t i, int64_t p) FLAT { store(to + i, kept(load(d + i) + load(direct + i), load(value + p))); });
      else
        each(m, c, [&](int64_t i, int64_t p) FLAT { store(to + i, kept(load(d + i), load(value + p))); });
  }
}

// Through block b: g -> before; `inner` is scratch. Samples that entered here are not followed further down.
static void block_backward(const Work& k, const T* theta, const Pass& p, int64_t b, const T* g, T* before, T* inner, T* grad) {
  const Block& block = k.block[b];
  const Unit &one = k.unit[block.first], &two = k.unit[block.second], &stem = k.unit[0];
  const int64_t n = p.seen_by(b), below = b ? p.seen_by(b - 1) : p.n, size = k.chunk(two.conv.out), outside = one.conv.in.size();
  derive(two, theta, grad, n);
  if (block.shortcut >= 0) derive(k.unit[block.shortcut], theta, grad, n);
  chunks(n, size, [&](int64_t s0, int64_t count) { second_backward(k, block, g, inner, s0, count); });
  derive(one, theta, grad, n);
  chunks(n, size, [&](int64_t s0, int64_t count) {
    first_backward(k, block, inner, g, s0 < below ? before : nullptr, s0, count);
    for (int64_t s = s0; s < s0 + count && s < below; s++)
      b ? gauge(k, k.block[b - 1], before + s * outside, s) : gauge(stem, before + s * outside, s);
  });
}

// Adds to the gradient of all but the convolutions, whose sums are in their own places.
static void backward(const Work& k, const T* theta, const Pass& p, const int64_t* y, const T* share, T* grad) {
  const Unit& stem = k.unit[0];
  T *g = k.g[0], *before = k.g[1];
  head_backward(k, theta, y, share, p, grad, g);
  for (int64_t s = 0; s < p.seen_by(k.blocks - 1); s++) gauge(k, k.block[k.blocks - 1], g + s * k.last().size(), s);
  for (int64_t b = k.blocks - 1; b >= 0; b--) {
    block_backward(k, theta, p, b, g, before, k.g[2], grad);
    std::swap(g, before);
  }
  derive(stem, theta, grad, p.n);
  chunks(p.n, k.chunk(stem.conv.out), [&](int64_t s0, int64_t count) {
    pad(k, p.x, s0, count);
    unit_backward(k, stem, g, stem.input, k.image.padded(), s0, count);
  });
}
