// One convolution without bias on images with their channels last, 3x3 (padded by one) or 1x1, stride 1 or 2.
//
// 3x3 with stride 1 goes by Winograd's F(2x2, 3x3) (Lavin and Gray 2016): 16 products of matrices for tiles of 2x2
// outputs, 2.25 times fewer multiplications; its gradient by the weights is the adjoint, its gradient by the inputs
// the same with flipped weights. All else goes directly: a kernel row is one contiguous piece of the inner dimension.
//
// Images are padded: [2 * ceil(H / 2) + 2][2 * ceil(W / 2) + 2][C], the image from (1, 1), zeros around it.
#pragma once
#include "residual_product.h"

struct Image {
  int64_t H, W, C;
  int64_t down() const { return (H + 1) / 2; }  // tiles
  int64_t across() const { return (W + 1) / 2; }
  int64_t tiles() const { return down() * across(); }
  int64_t pitch() const { return (2 * across() + 2) * C; }
  int64_t padded() const { return (2 * down() + 2) * pitch(); }
  int64_t size() const { return H * W * C; }
  int64_t at(int64_t y, int64_t x) const { return (y + 1) * pitch() + (x + 1) * C; }
};

// ---- Winograd's transforms, B^T d B, A^T m A, A d A^T, G w G^T and G^T u G; lanes are channels --------------------------
static INLINE void mix_in(const V d[4], V r[4]) { r[0] = d[0] - d[2], r[1] = d[1] + d[2], r[2] = d[2] - d[1], r[3] = d[1] - d[3]; }
static INLINE void mix_out(const V m[4], V r[2]) { r[0] = m[0] + m[1] + m[2], r[1] = m[1] - m[2] - m[3]; }
static INLINE void mix_back(const V d[2], V r[4]) { r[0] = d[0], r[1] = d[0] + d[1], r[2] = d[0] - d[1], r[3] = V{} - d[1]; }
static INLINE void mix_weight(const V w[3], V r[4]) {
  const V outer = T(0.5) * (w[0] + w[2]), inner = T(0.5) * w[1];
  r[0] = w[0], r[1] = outer + inner, r[2] = outer - inner, r[3] = w[2];
}
static INLINE void mix_gradient(const V u[4], V r[3]) {
  const V sum = T(0.5) * (u[1] + u[2]);
  r[0] = u[0] + sum, r[1] = T(0.5) * (u[1] - u[2]), r[2] = sum + u[3];
}

// from[i * fy + j * fx] (A x A) -> to[i * ty + j * tx] (B x B), `mix` along both.
template <int A, int B, typename F>
static INLINE void mixed(const T* from, int64_t fy, int64_t fx, T* to, int64_t ty, int64_t tx, F&& mix) {
  V half[A][B];
#pragma GCC unroll 4
  for (int i = 0; i < A; i++) {
    V row[A];
#pragma GCC unroll 4
    for (int j = 0; j < A; j++) row[j] = load(from + i * fy + j * fx);
    mix(row, half[i]);
  }
#pragma GCC unroll 4
  for (int j = 0; j < B; j++) {
    V column[A], done[B];
#pragma GCC unroll 4
    for (int i = 0; i < A; i++) column[i] = half[i][j];
    mix(column, done);
#pragma GCC unroll 4
    for (int i = 0; i < B; i++) store(to + i * ty + j * tx, done[i]);
  }
}

// A padded image -> [16][tiles, `apart` from one of the 16 to the next][C]: of patches of 4x4, or of tiles' gradients.
template <bool BACK> static void spread(const Image& m, const T* image, T* to, int64_t apart) {
  for (int64_t y = 0; y < m.down(); y++)
    for (int64_t x = 0; x < m.across(); x++, to += m.C)
      for (int64_t c = 0; c < m.C; c += L) {
        const T* from = image + (BACK ? m.at(2 * y, 2 * x) : m.at(2 * y - 1, 2 * x - 1)) + c;
        if (BACK)
          mixed<2, 4>(from, m.pitch(), m.C, to + c, 4 * apart, apart, [](const V* d, V* r) FLAT { mix_back(d, r); });
        else
          mixed<4, 4>(from, m.pitch(), m.C, to + c, 4 * apart, apart, [](const V* d, V* r) FLAT { mix_in(d, r); });
      }
}

// [16][tiles][C] -> an image [H][W][C] without padding.
static void gather(const Image& m, const T* from, int64_t apart, T* image) {
  alignas(64) T edge[4 * L];
  for (int64_t y = 0; y < m.down(); y++)
    for (int64_t x = 0; x < m.across(); x++, from += m.C) {
      const bool whole = 2 * y + 1 < m.H && 2 * x + 1 < m.W;
      for (int64_t c = 0; c < m.C; c += L) {
        T* to = image + (2 * y * m.W + 2 * x) * m.C + c;
        mixed<4, 2>(from + c, 4 * apart, apart, whole ? to : edge, whole ? m.W * m.C : 2 * L, whole ? m.C : L,
                    [](const V* d, V* r) FLAT { mix_out(d, r); });
        for (int i = 0; !whole && i < 4; i++)  // tiles may stick out of an odd image
          if (2 * y + i / 2 < m.H && 2 * x + i % 2 < m.W) store(to + (i / 2 * m.W + i % 2) * m.C, load(edge + i * L));
      }
    }
}

// ---- the convolution ------------------------------------------------------------------------------------------------------
struct Conv {
  Image in, out;
  int64_t k, stride, at;  // where its weights [O][C][k][k] lie in theta
  T *weights, *back, *acc, *taps;  // as products want them, for the gradient by inputs, sums of gradients; scratch

  bool tiled() const { return k == 3 && stride == 1 && in.C % L == 0; }
  int64_t size() const { return k * k * in.C * out.C; }
  int64_t numbers() const { return in.C * out.C * (tiled() ? 16 : k * k); }

  // theta -> weights [tap][C][O] (or Winograd's [16][C][O]); with `train` also back [tap][O][C], flipped if tiled.
  void prepare(const T* theta, bool train) const {
    const int64_t O = out.C, C = in.C, kk = k * k;
    const T* w = theta + at;
    T* to = tiled() ? taps : weights;
    for (int64_t o = 0; o < O; o++)
      for (int64_t c = 0; c < C; c++)
        for (int64_t t = 0; t < kk; t++) to[(t * C + c) * O + o] = w[(o * C + c) * kk + t];
    if (tiled()) transform(taps, weights, C * O);
    if (train) clear();
    if (!train || C % L) return;  // nothing asks for the gradient by the first convolution's inputs
    to = tiled() ? taps : back;
    for (int64_t o = 0; o < O; o++)
      for (int64_t c = 0; c < C; c++)
        for (int64_t t = 0; t < kk; t++) to[((tiled() ? kk - 1 - t : t) * O + o) * C + c] = w[(o * C + c) * kk + t];
    if (tiled()) transform(taps, back, C * O);
  }
  static void transform(const T* w, T* to, int64_t n) {
    for (int64_t i = 0; i < n; i += L)
      mixed<3, 4>(w + i, 3 * n, n, to + i, 4 * n, n, [](const V* d, V* r) FLAT { mix_weight(d, r); });
  }

  // Padded images `from` (`apart` from one another) of shape `a` -> images `to` of shape `b`, weights [16][a.C][b.C].
  static void tiles(const Image& a, const Image& b, const T* u, const T* from, int64_t apart, int64_t n, T* to, T* v, T* m) {
    const int64_t rows = n * a.tiles();
    for (int64_t s = 0; s < n; s++) spread<false>(a, from + s * apart, v + s * a.tiles() * a.C, rows * a.C);
    for (int i = 0; i < 16; i++)
      rows_product<false>(v + i * rows * a.C, a.C, rows, u + i * a.C * b.C, b.C, Taps(), a.C, m + i * rows * b.C, b.C);
    for (int64_t s = 0; s < n; s++) gather(b, m + s * a.tiles() * b.C, rows * b.C, to + s * b.size());
  }

  void forward(const T* from, int64_t apart, int64_t n, T* to, T* v, T* m) const {
    if (tiled()) return tiles(in, out, weights, from, apart, n, to, v, m);
    Taps t;
    t.count = k;
    for (int y = 0; y < k; y++) t.a[y] = y * in.pitch(), t.b[y] = y * k * in.C * out.C;
    for (int64_t s = 0; s < n; s++)
      for (int64_t y = 0; y < out.H; y++)
        rows_product<false>(from + s * apart + in.at(y * stride - k / 2, -(k / 2)), stride * in.C, out.W, weights, out.C, t,
                            k * in.C, to + s * out.size() + y * out.W * out.C, out.C);
  }

  // Padded gradients `d` by the outputs -> `to`, by the inputs (added where ADD; a tiled convolution cannot add).
  template <bool ADD> void backward(const T* d, int64_t n, T* to, T* v, T* m) const {
    if (tiled()) return tiles(out, in, back, d, out.padded(), n, to, v, m);
    for (int64_t s = 0; s < n; s++)
      for (int64_t y = 0; y < in.H; y++)
        for (int64_t x = 0; x < stride && x < in.W; x++)
          row_backward<ADD>(d + s * out.padded(), y, x, to + s * in.size());
  }
  // Inputs (y, x), (y, x + stride), ...: which outputs they reach, and through which taps, is the same for all of them.
  template <bool ADD> void row_backward(const T* d, int64_t y, int64_t x, T* to) const {
    Taps t;
    t.count = 0;
    for (int64_t ky = 0; ky < k; ky++)
      for (int64_t kx = 0; kx < k; kx++) {
        const int64_t oy = y + k / 2 - ky, ox = x + k / 2 - kx;
        if (oy % stride || ox % stride) continue;
        t.a[t.count] = out.at(oy / stride, ox / stride), t.b[t.count++] = (ky * k + kx) * in.C * out.C;
      }
    if (t.count || !ADD)
      rows_product<ADD>(d, out.C, (in.W - x + stride - 1) / stride, back, in.C, t, out.C, to + (y * in.W + x) * in.C,
                        stride * in.C);
  }

  // Adds to acc: padded inputs `from`, padded gradients `d` by the outputs.
  void weight_gradient(const T* from, int64_t apart, const T* d, int64_t n, T* v, T* m) const {
    if (tiled()) {
      const int64_t tiles = in.tiles(), rows = n * tiles;
      for (int64_t s = 0; s < n; s++) {
        spread<false>(in, from + s * apart, v + s * tiles * in.C, rows * in.C);
        spread<true>(out, d + s * out.padded(), m + s * tiles * out.C, rows * out.C);
      }
      for (int i = 0; i < 16; i++)
        outer_product(v + i * rows * in.C, in.C, m + i * rows * out.C, out.C, {1, rows, 0, in.C, 0, out.C},
                      acc + i * in.C * out.C);
      return;
    }
    const Grid grid = {out.H, out.W, stride * in.pitch(), stride * in.C, out.pitch(), out.C};
    for (int64_t s = 0; s < n; s++)
      for (int64_t y = 0; y < k; y++)
        outer_product(from + s * apart + in.at(y - k / 2, -(k / 2)), k * in.C, d + s * out.padded() + out.at(0, 0), out.C,
                      grid, acc + y * k * in.C * out.C);
  }

  void clear() const { memset(acc, 0, numbers() * sizeof(T)); }

  // acc -> sums by taps [k][k][C][O], where acc is not that already.
  const T* collect(T* to) const {
    const int64_t n = in.C * out.C;
    if (!tiled()) return acc;
    for (int64_t i = 0; i < n; i += L)
      mixed<4, 3>(acc + i, 4 * n, n, to + i, 3 * n, n, [](const V* d, V* r) FLAT { mix_gradient(d, r); });
    return to;
  }

  // Sums by taps -> the gradient [O][C][k][k] in its place.
  void finish(const T* from, T* grad) const {
    const int64_t O = out.C, C = in.C, kk = k * k;
    for (int64_t o = 0; o < O; o++)
      for (int64_t c = 0; c < C; c++)
        for (int64_t t = 0; t < kk; t++) grad[at + (o * C + c) * kk + t] = from[(t * C + c) * O + o];
  }
};
