// What the net looks like, as Python tells it, and a thread's work space.
#pragma once
#include <cstdlib>
#include <cstring>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "residual_norm.h"

struct Unit {  // a convolution and the normalisation after it
  Conv conv;
  Norm norm;
  T *one, *sum;  // gradients by taps, of one sample and clipped sums
  T *z, *input, *dz;  // [n][out] outputs of the convolution; padded scratch of a chunk: inputs, gradients by z
};

struct Block {  // relu(unit 2 (relu(unit 1 (x))) + shortcut), the shortcut a unit or (-1) x itself
  int64_t first, second, shortcut;
  T* x;  // [n] padded inputs, non-negative
};

constexpr int MOST_UNITS = 256, UNIT_NUMBERS = 14, HEAD_NUMBERS = 9;
constexpr int64_t ROWS = 96, PAGE = 1 << 21;

struct Work {
  char* base = nullptr;
  size_t used = 0, held = 0;
  int64_t n = 0, numbers = 0;
  int64_t plan[HEAD_NUMBERS + MOST_UNITS * (UNIT_NUMBERS + 3)] = {};
  int64_t units, blocks, classes, features, weight, bias;
  Image image;
  Unit unit[MOST_UNITS];
  Block block[MOST_UNITS];
  T *v, *m, *d, *g[3], *top, *pooled, *dpooled, *logits;

  ~Work() { free(base); }

  int64_t cells(int64_t cut) const {  // of one sample's features at a cut (see Pass)
    if (cut < 0 || cut > blocks) return features;
    return cut < blocks ? unit[block[cut].first].conv.in.size() : last().size();
  }
  const Image& last() const { return unit[block[blocks - 1].second].conv.out; }

  bool batched() const {  // whether what becomes of a sample in training depends on the others
    for (int64_t i = 0; i < units; i++)
      if (!unit[i].norm.groups) return true;
    return false;
  }
  // How many samples go through the whole net together where they do not depend on one another, to stay in the cache.
  int64_t piece() const {
    int64_t most = 4;
    for (int64_t i = 0; i < units; i++) most = ROWS / unit[i].conv.out.tiles() > most ? ROWS / unit[i].conv.out.tiles() : most;
    return most;
  }
  // How many samples go together through a unit: enough rows for products with large matrices, few enough for the cache.
  int64_t chunk(const Image& image) const {
    const int64_t most = ROWS / image.tiles();
    return most < 1 ? 1 : most > n ? n : most;
  }

  void take(T*& p, int64_t count) {
    p = (T*)(base + used);
    used += (count * sizeof(T) + 127) / 64 * 64;
  }

  void read(const int64_t* from, const double* reals) {
    units = from[0], blocks = from[1], image = {from[3], from[4], from[2]};
    classes = from[5], features = from[6], weight = from[7], bias = from[8];
    from += HEAD_NUMBERS;
    for (int64_t i = 0; i < units; i++, from += UNIT_NUMBERS) {
      Conv& c = unit[i].conv;
      c.in = {from[4], from[5], from[0]}, c.out = {from[6], from[7], from[1]};
      c.k = from[2], c.stride = from[3], c.at = from[8];
      Norm& b = unit[i].norm;
      b.C = from[1], b.gamma = from[9], b.beta = from[10], b.average = from[11], b.variance = from[12], b.groups = from[13];
      b.eps = reals[2 * i], b.momentum = reals[2 * i + 1];
    }
    for (int64_t i = 0; i < blocks; i++, from += 3)
      block[i].first = from[0], block[i].second = from[1], block[i].shortcut = from[2];
  }

  void lay() {
    used = 0;
    int64_t tiles = 0, taps = 0, most = 0, largest = 0;
    for (int64_t i = 0; i < units; i++) {
      Conv& c = unit[i].conv;
      Norm& b = unit[i].norm;
      const int64_t together = chunk(c.out), rows = b.groups ? n : 1, C = c.out.C;
      take(c.weights, c.numbers()), take(c.back, c.numbers()), take(c.acc, c.numbers());
      take(unit[i].one, c.tiled() ? c.size() : 0), take(unit[i].sum, c.size());
      take(unit[i].z, n * c.out.size());
      take(unit[i].input, together * c.in.padded()), take(unit[i].dz, together * c.out.padded());
      for (T** p : {&b.mean, &b.rstd, &b.scale, &b.shift, &b.ga, &b.gb, &b.gc}) take(*p, rows * C);
      for (T** p : {&b.m1, &b.m2, &b.s1, &b.s2}) take(*p, n * C);
      const int64_t wide = c.in.C > C ? c.in.C : C, here = c.tiled() ? 16 * together * c.in.tiles() * wide : 0;
      tiles = here > tiles ? here : tiles;
      taps = c.size() > taps ? c.size() : taps;
      most = c.out.size() > most ? c.out.size() : most;
      largest = together * c.in.size() > largest ? together * c.in.size() : largest;
    }
    for (int64_t i = 0; i < blocks; i++) take(block[i].x, n * unit[block[i].first].conv.in.padded());
    for (T** p : {&g[0], &g[1], &g[2]}) take(*p, n * most);
    take(v, tiles), take(m, tiles), take(d, largest), take(top, n * last().size());
    take(pooled, n * features), take(dpooled, n * features), take(logits, n * classes);
    T* shared;
    take(shared, taps);
    for (int64_t i = 0; i < units; i++) unit[i].conv.taps = shared;
  }

  // For `samples` of the net in `from` [count]; zeroed when the shapes change: borders are never written afterwards.
  bool ready(const int64_t* from, int64_t count, const double* reals, int64_t samples) {
    read(from, reals);
    if (base && samples <= n && count == numbers && !memcmp(from, plan, count * sizeof(*from))) return true;
    free(base);
    base = nullptr, n = samples, numbers = count;
    memcpy(plan, from, count * sizeof(*from));
    lay();
    void* p = nullptr;
    if (posix_memalign(&p, used < PAGE ? 64 : PAGE, used)) return false;
#if defined(__linux__)
    if (used >= PAGE) madvise(p, used, MADV_HUGEPAGE);
#endif
    memset(p, 0, used);
    base = (char*)p;
    lay();
    return true;
  }
};
static thread_local Work work;
