// The gradient of one sample's loss, its norm, and the sum it is added to: convolutions by taps, all else in theta's order.
#pragma once
#include "residual_backward.h"

// Into unit.one, or conv.acc where that is by taps; of all but the convolutions into `one` [p].
static void gradient_of_one(const Work& k, T* theta, const T* x, const int64_t* y, T* one, int64_t p) {
  const T share = 1;
  const Pass pass = {x, 1, 0, -1, nullptr, nullptr};
  memset(one, 0, p * sizeof(T));
  for (int64_t i = 0; i < k.units; i++) k.unit[i].conv.clear();
  forward(k, theta, pass, true);
  backward(k, theta, pass, y, &share, one);
  for (int64_t i = 0; i < k.units; i++) k.unit[i].conv.collect(k.unit[i].one);
}

static const T* by_taps(const Unit& u) { return u.conv.tiled() ? u.one : u.conv.acc; }

static T squares(const T* from, int64_t n) {
  V sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * L <= n; i += 4 * L)
    for (int j = 0; j < 4; j++) sums[j] += loadu(from + i + j * L) * loadu(from + i + j * L);
  const V sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  T total = 0;
  for (int j = 0; j < L; j++) total += sum[j];
  for (; i < n; i++) total += from[i] * from[i];
  return total;
}

static T squares(const Work& k, const T* one, int64_t p) {
  T sum = squares(one, p);  // where convolutions lie, `one` is zero
  for (int64_t i = 0; i < k.units; i++) sum += squares(by_taps(k.unit[i]), k.unit[i].conv.size());
  return sum;
}

static void add(T factor, const T* from, T* to, int64_t n) {
  int64_t i = 0;
  for (; i + L <= n; i += L) storeu(to + i, loadu(to + i) + factor * loadu(from + i));
  for (; i < n; i++) to[i] += factor * from[i];
}

static void add(const Work& k, T factor, const T* one, T* total, int64_t p) {
  add(factor, one, total, p);
  for (int64_t i = 0; i < k.units; i++) add(factor, by_taps(k.unit[i]), k.unit[i].sum, k.unit[i].conv.size());
}
