// The forward pass, and the parts of it that the backward pass does again.
#pragma once
#include "residual_work.h"

// What goes through the net. Behind block number `cut` - 1 (0: the first unit's ReLU, blocks + 1: the mean over positions)
// `more` further samples enter, by their features there; where `features` is set, the n samples' are written into it.
struct Pass {
  const T* x;  // [n][H][W][C]
  int64_t n, more, cut;
  const T* sampled;  // [more][H][W][C]
  T* features;       // [n][H][W][C]

  int64_t seen_by(int64_t b) const { return b < cut ? n : n + more; }  // samples that block b sees; the head is the last
};

// f(place in an unpadded image, place in the padded one, channel) for one vector after another.
template <typename F> static INLINE void each(const Image& m, int64_t c, F&& f) {
  for (int64_t y = 0; y < m.H; y++)
    for (int64_t x = 0; x < m.W; x++) f((y * m.W + x) * m.C + c, m.at(y, x) + c);
}

static INLINE V kept(V d, V value) { return value <= V{} ? V{} : d; }  // the derivative of ReLU; lets NaN through

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

static void convolve(const Work& k, const Unit& u, const T* from, int64_t apart, int64_t s0, int64_t count, bool train) {
  const Image& m = u.conv.out;
  u.conv.forward(from, apart, count, u.z + s0 * m.size(), k.v, k.m);
  for (int64_t s = s0; (train || u.norm.groups) && s < s0 + count; s++) u.norm.measure(u.z + s * m.size(), m.H * m.W, s);
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

static void head(const Work& k, const T* theta, const Pass& p) {
  const Image& m = k.last();
  for (int64_t s = 0; s < p.seen_by(k.blocks); s++)
    for (int64_t c = 0; c < m.C; c += L) {
      V sum = V{};
      each(m, c, [&](int64_t i, int64_t) FLAT { sum += load(k.top + s * m.size() + i); });
      store(k.pooled + s * m.C + c, sum / T(m.H * m.W));
    }
  if (p.cut == k.blocks + 1) memcpy(k.pooled + p.n * m.C, p.sampled, p.more * m.C * sizeof(T));
  for (int64_t s = 0; s < p.n + p.more; s++)
    for (int64_t o = 0; o < k.classes; o++) {
      T sum = k.bias < 0 ? T(0) : theta[k.bias + o];
      for (int64_t c = 0; c < m.C; c++) sum += theta[k.weight + o * m.C + c] * k.pooled[s * m.C + c];
      k.logits[s * k.classes + o] = sum;
    }
}

// Features [C][H][W] of PyTorch's order are [H][W][C] here: rows of an unpadded image <-> a padded one.
static void fill(const Image& m, const T* from, T* padded) {
  for (int64_t y = 0; y < m.H; y++) memcpy(padded + m.at(y, 0), from + y * m.W * m.C, m.W * m.C * sizeof(T));
}
static void empty(const Image& m, const T* padded, T* to) {
  for (int64_t y = 0; y < m.H; y++) memcpy(to + y * m.W * m.C, padded + m.at(y, 0), m.W * m.C * sizeof(T));
}

// The samples' features behind the cut.
static void show(const Work& k, const Pass& p) {
  if (p.cut < k.blocks) {
    const Image& m = k.unit[k.block[p.cut].first].conv.in;
    for (int64_t s = 0; s < p.n; s++) empty(m, k.block[p.cut].x + s * m.padded(), p.features + s * m.size());
    return;
  }
  const bool top = p.cut == k.blocks;
  memcpy(p.features, top ? k.top : k.pooled, p.n * (top ? k.last().size() : k.last().C) * sizeof(T));
}

// Samples s0 .. s0 + count into the first unit's scratch.
static void pad(const Work& k, const T* x, int64_t s0, int64_t count) {
  const Image& m = k.image;
  for (int64_t s = 0; s < count; s++) fill(m, x + (s0 + s) * m.size(), k.unit[0].input + s * m.padded());
}

// The inputs of block b for samples s0 .. s0 + count.
static void enter(const Work& k, const Pass& p, int64_t b, int64_t s0, int64_t count) {
  const Image& m = k.unit[k.block[b].first].conv.in;
  for (int64_t s = s0; s < s0 + count; s++) {
    T* to = k.block[b].x + s * m.padded();
    if (s >= p.n && b == p.cut)
      fill(m, p.sampled + (s - p.n) * m.size(), to);
    else
      b ? join<true>(k, b - 1, s, to) : activate(k.unit[0], s, to);
  }
}

static void block_forward(const Work& k, T* theta, const Pass& p, int64_t b, bool train) {
  const Block& block = k.block[b];
  const Unit &one = k.unit[block.first], &two = k.unit[block.second];
  const Unit* shortcut = block.shortcut < 0 ? nullptr : &k.unit[block.shortcut];
  const int64_t n = p.seen_by(b), size = k.chunk(two.conv.out), apart = one.conv.in.padded(), inner = two.conv.in.padded();
  chunks(n, size, [&](int64_t s0, int64_t count) {
    enter(k, p, b, s0, count);
    convolve(k, one, block.x + s0 * apart, apart, s0, count, train);
    if (shortcut) convolve(k, *shortcut, block.x + s0 * apart, apart, s0, count, train);
  });
  settle(one, theta, n, train);
  if (shortcut) settle(*shortcut, theta, n, train);
  chunks(n, size, [&](int64_t s0, int64_t count) {
    for (int64_t s = s0; s < s0 + count; s++) activate(one, s, two.input + (s - s0) * inner);
    convolve(k, two, two.input, inner, s0, count, train);
  });
  settle(two, theta, n, train);
}

static void forward(const Work& k, T* theta, const Pass& p, bool train) {
  const Unit& stem = k.unit[0];
  chunks(p.n, k.chunk(stem.conv.out), [&](int64_t s0, int64_t count) {
    pad(k, p.x, s0, count);
    convolve(k, stem, stem.input, k.image.padded(), s0, count, train);
  });
  settle(stem, theta, p.n, train);
  for (int64_t b = 0; b < k.blocks; b++) block_forward(k, theta, p, b, train);
  const int64_t size = k.last().size();
  for (int64_t s = 0; s < p.seen_by(k.blocks - 1); s++) join<false>(k, k.blocks - 1, s, k.top + s * size);
  if (p.cut == k.blocks) memcpy(k.top + p.n * size, p.sampled, p.more * size * sizeof(T));
  head(k, theta, p);
  if (p.features) show(k, p);
}
