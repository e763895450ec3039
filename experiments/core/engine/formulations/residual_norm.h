// Batch normalisation (over samples and positions) and group normalisation (over a sample's groups of channels).
//
// Both are y = scale * z + shift in channels, with one row of scales for all samples or one for each. Moments are taken of
// every sample and channel in two passes while it is in the cache, and put together in double precision.
#pragma once
#include <cmath>

#include "residual_conv.h"

struct Norm {
  int64_t C, groups, gamma, beta, average, variance;  // groups 0: by the batch; then places in theta
  double eps, momentum;
  T *mean, *rstd, *scale, *shift;          // [rows][C]
  T *ga, *gb, *gc;                         // [rows][C]: the gradient by z is ga * g + gb * (z - mean) + gc
  T *m1, *m2, *s1, *s2;                    // [samples][C]: mean, squares around it; sums of g and of g * (z - mean)

  int64_t row(int64_t s) const { return groups ? s * C : 0; }

  // One sample's z [positions][C].
  void measure(const T* z, int64_t positions, int64_t s) const {
    for (int64_t c = 0; c < C; c += L) {
      V a = V{}, b = V{};
      int64_t i = 0;
      for (; i + 1 < positions; i += 2) a += load(z + i * C + c), b += load(z + (i + 1) * C + c);
      if (i < positions) a += load(z + i * C + c);
      const V mid = (a + b) / T(positions);
      a = b = V{};
      for (i = 0; i + 1 < positions; i += 2) {
        const V u = load(z + i * C + c) - mid, v = load(z + (i + 1) * C + c) - mid;
        a += u * u, b += v * v;
      }
      if (i < positions) a += (load(z + i * C + c) - mid) * (load(z + i * C + c) - mid);
      store(m1 + s * C + c, mid), store(m2 + s * C + c, a + b);
    }
  }

  // Moments of channels c0 .. c1 of samples s0 .. s1 together -> mean and variance.
  void together(int64_t s0, int64_t s1, int64_t c0, int64_t c1, int64_t positions, double& mid, double& var) const {
    double sum = 0, squares = 0;
    for (int64_t s = s0; s < s1; s++)
      for (int64_t c = c0; c < c1; c++) sum += m1[s * C + c];
    const double count = double(s1 - s0) * (c1 - c0);
    mid = sum / count;
    for (int64_t s = s0; s < s1; s++)
      for (int64_t c = c0; c < c1; c++) {
        const double off = m1[s * C + c] - mid;
        squares += m2[s * C + c] + positions * off * off;
      }
    var = squares / (count * positions);
  }

  void set(const T* theta, int64_t r, int64_t c, double mid, double var) const {
    const double inverse = 1 / std::sqrt(var + eps);
    mean[r + c] = mid, rstd[r + c] = inverse;
    scale[r + c] = theta[gamma + c] * inverse;
    shift[r + c] = theta[beta + c] - theta[gamma + c] * inverse * mid;
  }

  // Scales and shifts once all samples are measured; batch normalisation moves its statistics in theta.
  void settle(T* theta, int64_t n, int64_t positions) const {
    double mid, var;
    if (groups) {
      const int64_t G = C / groups;
      for (int64_t s = 0; s < n; s++)
        for (int64_t c0 = 0; c0 < C; c0 += G) {
          together(s, s + 1, c0, c0 + G, positions, mid, var);
          for (int64_t c = c0; c < c0 + G; c++) set(theta, row(s), c, mid, var);
        }
      return;
    }
    const double count = double(n) * positions;
    for (int64_t c = 0; c < C; c++) {
      together(0, n, c, c + 1, positions, mid, var);
      set(theta, 0, c, mid, var);
      theta[average + c] += momentum * (mid - theta[average + c]);
      theta[variance + c] += momentum * (var * count / (count - 1) - theta[variance + c]);
    }
  }

  // In evaluation mode.
  void recall(const T* theta) const {
    for (int64_t c = 0; c < C; c++) set(theta, 0, c, theta[average + c], theta[variance + c]);
  }

  // Adds the gradients by gamma and beta; the coefficients of the one by z, once s1 and s2 are there.
  void derive(const T* theta, T* grad, int64_t n, int64_t positions) const {
    for (int64_t c = 0; c < C; c++) {
      double by_gamma = 0, by_beta = 0;
      for (int64_t s = 0; s < n; s++) by_gamma += double(s2[s * C + c]) * rstd[row(s) + c], by_beta += s1[s * C + c];
      grad[gamma + c] += by_gamma, grad[beta + c] += by_beta;
      if (!groups) slopes(theta, 0, c, by_beta * theta[gamma + c], by_gamma * theta[gamma + c], double(n) * positions);
    }
    const int64_t G = groups ? C / groups : C;
    for (int64_t s = 0; groups && s < n; s++)
      for (int64_t c0 = 0; c0 < C; c0 += G) {
        double sum = 0, turned = 0;
        for (int64_t c = c0; c < c0 + G; c++) {
          sum += double(theta[gamma + c]) * s1[s * C + c];
          turned += double(theta[gamma + c]) * s2[s * C + c] * rstd[row(s) + c];
        }
        for (int64_t c = c0; c < c0 + G; c++) slopes(theta, row(s), c, sum, turned, double(positions) * G);
      }
  }
  void slopes(const T* theta, int64_t r, int64_t c, double sum, double turned, double count) const {
    ga[r + c] = double(theta[gamma + c]) * rstd[r + c];
    gb[r + c] = -double(rstd[r + c]) * rstd[r + c] * turned / count;
    gc[r + c] = -double(rstd[r + c]) * sum / count;
  }

  // Sums of one sample's g and g * (z - mean).
  void gauge(const T* g, const T* z, int64_t positions, int64_t s) const {
    for (int64_t c = 0; c < C; c += L) {
      const V mid = load(mean + row(s) + c);
      V a = V{}, b = V{}, p = V{}, q = V{};
      int64_t i = c;
      for (; i + C < positions * C; i += 2 * C) {
        const V u = load(g + i), v = load(g + i + C);
        a += u, b += v, p += u * (load(z + i) - mid), q += v * (load(z + i + C) - mid);
      }
      if (i < positions * C) a += load(g + i), p += load(g + i) * (load(z + i) - mid);
      store(s1 + s * C + c, a + b), store(s2 + s * C + c, p + q);
    }
  }

  // The gradient by z of one sample, into the padded image `to`.
  void backward(const Image& m, const T* g, const T* z, int64_t s, T* to) const {
    for (int64_t c = 0; c < C; c += L) {
      const V a = load(ga + row(s) + c), b = load(gb + row(s) + c), e = load(gc + row(s) + c), mid = load(mean + row(s) + c);
      for (int64_t y = 0; y < m.H; y++)
        for (int64_t x = 0; x < m.W; x++) {
          const int64_t i = (y * m.W + x) * C + c;
          store(to + m.at(y, x) + c, a * load(g + i) + (b * (load(z + i) - mid) + e));
        }
    }
  }
};
