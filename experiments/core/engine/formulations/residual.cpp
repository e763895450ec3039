// The gradient of the weighted mean loss, and outputs, of one residual net on one batch, single threaded, on a CPU.
//
// Nets: convolution, normalisation, ReLU; basic blocks (He et al. 2016) of two units, each a convolution and a
// normalisation; mean over positions; a linear layer; softmax cross-entropy. Any shape: it is told when running, in `plan`
// (see Work::read). Macros: T (float|double)  IS_DOUBLE (0|1).
//
// Only what a convolution gives out and the blocks' inputs are stored. Normalisation, ReLU and sums are done again where
// they are needed, on a few samples that are in the cache.
// residual_conv.h has convolutions, residual_norm.h normalisations, residual_work.h the plan and what lies where.
#define NCONV 0
#include "residual_work.h"

// f(place in an unpadded image, place in the padded one, channel) for one vector after another.
template <typename F> static INLINE void each(const Image& m, int64_t c, F&& f) {
  for (int64_t y = 0; y < m.H; y++)
    for (int64_t x = 0; x < m.W; x++) f((y * m.W + x) * m.C + c, m.at(y, x) + c);
}

static INLINE V kept(V d, V value) { return value <= V{} ? V{} : d; }  // the derivative of ReLU; lets NaN through

// ---- forward --------------------------------------------------------------------------------------------------------------
// relu(norm(z)) of sample s into the padded image `to`.
static void activate(const Unit& u, int64_t s, T* to) {
  const Image& m = u.conv.out;
  const T *z = u.z + s * m.size(), *scale = u.norm.scale + u.norm.row(s), *shift = u.norm.shift + u.norm.row(s);
  for (int64_t c = 0; c < m.C; c += L) {
    const V a = load(scale + c), b = load(shift + c);
    each(m, c, [&](int64_t i, int64_t p) FLAT { store(to + p, relu(load(z + i) * a + b)); });
  }
}

// What block b gives out for sample s, into the padded image `to` or, unless PADDED, an unpadded one.
template <bool PADDED> static void join(const Work& k, int64_t b, int64_t s, T* to) {
  const Block& block = k.block[b];
  const Unit& u = k.unit[block.second];
  const Image& m = u.conv.out;
  const T *z = u.z + s * m.size(), *scale = u.norm.scale + u.norm.row(s), *shift = u.norm.shift + u.norm.row(s);
  for (int64_t c = 0; c < m.C; c += L) {
    const V a = load(scale + c), e = load(shift + c);
    if (block.shortcut < 0) {
      const T* x = block.x + s * m.padded();
      each(m, c, [&](int64_t i, int64_t p) FLAT { store(to + (PADDED ? p : i), relu(load(z + i) * a + e + load(x + p))); });
      continue;
    }
    const Unit& w = k.unit[block.shortcut];
    const T* zw = w.z + s * m.size();
    const V aw = load(w.norm.scale + w.norm.row(s) + c), ew = load(w.norm.shift + w.norm.row(s) + c);
    each(m, c, [&](int64_t i, int64_t p) FLAT {
      store(to + (PADDED ? p : i), relu((load(z + i) * a + e) + (load(zw + i) * aw + ew)));
    });
  }
}

static void convolve(const Work& k, const Unit& u, const T* from, int64_t apart, int64_t s0, int64_t count, bool measured) {
  const Image& m = u.conv.out;
  u.conv.forward(from, apart, count, u.z + s0 * m.size(), k.v, k.m);
  for (int64_t s = s0; measured && s < s0 + count; s++) u.norm.measure(u.z + s * m.size(), m.H * m.W, s);
}

static void settle(const Unit& u, T* theta, int64_t n, bool train) {
  if (train || u.norm.groups)
    u.norm.settle(theta, n, u.conv.out.H * u.conv.out.W);
  else
    u.norm.recall(theta);
}

template <typename F> static INLINE void chunks(int64_t n, int64_t size, F&& visit) {
  for (int64_t s = 0; s < n; s += size) visit(s, n - s < size ? n - s : size);
}

// x [n][H][W][C], unpadded: samples s0 .. s0 + count into the first unit's scratch.
static void pad(const Work& k, const T* x, int64_t s0, int64_t count) {
  const Image& m = k.image;
  for (int64_t s = 0; s < count; s++)
    for (int64_t y = 0; y < m.H; y++)
      memcpy(k.unit[0].input + s * m.padded() + m.at(y, 0), x + (s0 + s) * m.size() + y * m.W * m.C, m.W * m.C * sizeof(T));
}

static void head(const Work& k, const T* theta, int64_t n) {
  const Image& m = k.last();
  for (int64_t s = 0; s < n; s++) {
    for (int64_t c = 0; c < m.C; c += L) {
      V sum = V{};
      each(m, c, [&](int64_t i, int64_t) FLAT { sum += load(k.top + s * m.size() + i); });
      store(k.pooled + s * m.C + c, sum / T(m.H * m.W));
    }
    for (int64_t o = 0; o < k.classes; o++) {
      T sum = k.bias < 0 ? T(0) : theta[k.bias + o];
      for (int64_t c = 0; c < m.C; c++) sum += theta[k.weight + o * m.C + c] * k.pooled[s * m.C + c];
      k.logits[s * k.classes + o] = sum;
    }
  }
}

static void forward(const Work& k, T* theta, const T* x, int64_t n, bool train) {
  for (int64_t i = 0; i < k.units; i++) k.unit[i].conv.prepare(theta, train);
  const auto measured = [&](const Unit& u) { return train || u.norm.groups; };
  const Unit& stem = k.unit[0];
  chunks(n, k.chunk(stem.conv.out), [&](int64_t s0, int64_t count) {
    pad(k, x, s0, count);
    convolve(k, stem, stem.input, k.image.padded(), s0, count, measured(stem));
  });
  settle(stem, theta, n, train);
  for (int64_t b = 0; b < k.blocks; b++) {
    const Block& block = k.block[b];
    const Unit &one = k.unit[block.first], &two = k.unit[block.second];
    const int64_t size = k.chunk(two.conv.out), apart = one.conv.in.padded(), inner = two.conv.in.padded();
    chunks(n, size, [&](int64_t s0, int64_t count) {
      for (int64_t s = s0; s < s0 + count; s++)
        b ? join<true>(k, b - 1, s, block.x + s * apart) : activate(stem, s, block.x + s * apart);
      convolve(k, one, block.x + s0 * apart, apart, s0, count, measured(one));
      if (block.shortcut >= 0) {
        const Unit& u = k.unit[block.shortcut];
        convolve(k, u, block.x + s0 * apart, apart, s0, count, measured(u));
      }
    });
    settle(one, theta, n, train);
    if (block.shortcut >= 0) settle(k.unit[block.shortcut], theta, n, train);
    chunks(n, size, [&](int64_t s0, int64_t count) {
      for (int64_t s = s0; s < s0 + count; s++) activate(one, s, two.input + (s - s0) * inner);
      convolve(k, two, two.input, inner, s0, count, measured(two));
    });
    settle(two, theta, n, train);
  }
  for (int64_t s = 0; s < n; s++) join<false>(k, k.blocks - 1, s, k.top + s * k.last().size());
  head(k, theta, n);
}

// ---- backward -------------------------------------------------------------------------------------------------------------
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
static void head_backward(const Work& k, const T* theta, const int64_t* y, const T* share, int64_t n, T* grad, T* g) {
  const Image& m = k.last();
  memset(grad + k.weight, 0, k.classes * m.C * sizeof(T));
  if (k.bias >= 0) memset(grad + k.bias, 0, k.classes * sizeof(T));
  for (int64_t s = 0; s < n; s++) {
    T *p = k.logits + s * k.classes, *d = k.dpooled + s * m.C, largest = p[0], total = 0;
    for (int64_t o = 1; o < k.classes; o++) largest = p[o] > largest ? p[o] : largest;
    for (int64_t o = 0; o < k.classes; o++) total += p[o] = std::exp(p[o] - largest);
    memset(d, 0, m.C * sizeof(T));
    for (int64_t o = 0; o < k.classes; o++) {
      const T slope = share[s] * (p[o] / total - (o == y[s]));
      if (k.bias >= 0) grad[k.bias + o] += slope;
      for (int64_t c = 0; c < m.C; c++) {
        grad[k.weight + o * m.C + c] += slope * k.pooled[s * m.C + c];
        d[c] += slope * theta[k.weight + o * m.C + c];
      }
    }
    for (int64_t c = 0; c < m.C; c += L) {
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

// Through the first unit and the shortcut: inner and g -> before, the gradient by the sum before the block, masked.
static void first_backward(const Work& k, const Block& block, const T* inner, const T* g, T* before, int64_t s0, int64_t count) {
  const Unit& one = k.unit[block.first];
  const Image& m = one.conv.in;
  const T* x = block.x + s0 * m.padded();
  unit_backward(k, one, inner, x, m.padded(), s0, count);
  one.conv.backward<false>(one.dz, count, k.d, k.v, k.m);
  if (block.shortcut >= 0) {
    const Unit& u = k.unit[block.shortcut];
    unit_backward(k, u, g, x, m.padded(), s0, count);
    u.conv.backward<true>(u.dz, count, k.d, k.v, k.m);
  }
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

static void backward(const Work& k, const T* theta, const T* x, const int64_t* y, const T* share, int64_t n, T* grad) {
  const Unit& stem = k.unit[0];
  T *g = k.g[0], *before = k.g[1], *inner = k.g[2];
  head_backward(k, theta, y, share, n, grad, g);
  for (int64_t s = 0; s < n; s++) gauge(k, k.block[k.blocks - 1], g + s * k.last().size(), s);
  for (int64_t b = k.blocks - 1; b >= 0; b--) {
    const Block& block = k.block[b];
    const Unit &one = k.unit[block.first], &two = k.unit[block.second];
    const int64_t size = k.chunk(two.conv.out), outside = one.conv.in.size();
    derive(two, theta, grad, n);
    if (block.shortcut >= 0) derive(k.unit[block.shortcut], theta, grad, n);
    chunks(n, size, [&](int64_t s0, int64_t count) { second_backward(k, block, g, inner, s0, count); });
    derive(one, theta, grad, n);
    chunks(n, size, [&](int64_t s0, int64_t count) {
      first_backward(k, block, inner, g, before, s0, count);
      for (int64_t s = s0; s < s0 + count; s++)
        b ? gauge(k, k.block[b - 1], before + s * outside, s) : gauge(stem, before + s * outside, s);
    });
    std::swap(g, before);
  }
  derive(stem, theta, grad, n);
  chunks(n, k.chunk(stem.conv.out), [&](int64_t s0, int64_t count) {
    pad(k, x, s0, count);
    unit_backward(k, stem, g, stem.input, k.image.padded(), s0, count);
  });
  for (int64_t i = 0; i < k.units; i++) k.unit[i].conv.finish(grad);
}

// ---- entry points: 0, or 1 when out of memory ------------------------------------------------------------------------------
extern "C" {
// theta [size], whose running statistics move; x [n][H][W][C], y [n], share [n] of each sample's loss in the mean.
int gradient(const int64_t* plan, int64_t count, const double* reals, T* theta, const T* x, const int64_t* y,
             const T* share, int64_t n, T* grad) {
  if (!work.ready(plan, count, reals, n)) return 1;
  forward(work, theta, x, n, true);
  backward(work, theta, x, y, share, n, grad);
  return 0;
}

// out [n][classes], in evaluation mode; theta stays as it is.
int outputs(const int64_t* plan, int64_t count, const double* reals, T* theta, const T* x, int64_t n, T* out) {
  if (!work.ready(plan, count, reals, n)) return 1;
  forward(work, theta, x, n, false);
  memcpy(out, work.logits, n * work.classes * sizeof(T));
  return 0;
}
}
