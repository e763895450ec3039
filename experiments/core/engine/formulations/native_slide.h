// Convolution of samples in lanes, at every place of the image, in register blocks of channels and columns.
#pragma once
#include "native_product.h"

// out [CO][..][L] = bias + the products of the weights w [CI][K][K][CO] and in [CI][HI][WI][L], at every place they fit.
template <int CI, int CO, int K, int HI, int WI> struct Slide {
  static constexpr int ZH = HI - K + 1, ZW = WI - K + 1;

  template <int N, int M> static INLINE void block(const T* in, const T* w, const T* bias, T* out) {
    V acc[N][M];
#pragma GCC unroll 8
    for (int o = 0; o < N; o++)
#pragma GCC unroll 8
      for (int m = 0; m < M; m++) acc[o][m] = bias ? splat(bias[o]) : V{};
    for (int c = 0; c < CI; c++)
#pragma GCC unroll 1
      for (int y = 0; y < K; y++) {
        const T *row = in + (c * HI + y) * WI * L, *tap = w + (c * K + y) * K * CO;
#pragma GCC unroll 16
        for (int x = 0; x < K; x++) {
          V a[M];
#pragma GCC unroll 8
          for (int m = 0; m < M; m++) a[m] = load(row + (x + m) * L);
#pragma GCC unroll 8
          for (int o = 0; o < N; o++) {
            const T f = tap[x * CO + o];
#pragma GCC unroll 8
            for (int m = 0; m < M; m++) acc[o][m] += f * a[m];
          }
        }
      }
#pragma GCC unroll 8
    for (int o = 0; o < N; o++)
#pragma GCC unroll 8
      for (int m = 0; m < M; m++) store(out + (o * ZH * ZW + m) * L, acc[o][m]);
  }

  static void all(const T* in, const T* w, const T* bias, T* out) {
    for (int y = 0; y < ZH; y++)
      Split<CO, REGISTERS == 32 ? 6 : 3>::each([&](auto channels, int o) FLAT {
        Split<ZW, 4>::each([&](auto columns, int x) FLAT {
          block<decltype(channels)::value, decltype(columns)::value>(in + (y * WI + x) * L, w + o, bias ? bias + o : nullptr,
                                                                     out + ((o * ZH + y) * ZW + x) * L);
        });
      });
  }
};

template <typename F> static INLINE V summed(int n, F&& term) {  // of term(0) .. term(n - 1)
  V s[4] = {};
  int i = 0;
  for (; i + 4 <= n; i += 4)
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) s[j] += term(i + j);
  for (; i < n; i++) s[0] += term(i);
  return (s[0] + s[1]) + (s[2] + s[3]);
}
