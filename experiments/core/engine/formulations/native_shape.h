// The shape of the network, from macros (native_conv.cpp lists them), and where things lie in theta.
#pragma once
#include "native_vec.h"

constexpr int CHA[] = CH, HHA[] = HH, WWA[] = WW, KKA[] = KK, PPA[] = PAD, CAA[] = CACT, CBA[] = CBIAS, CGA[] = CGROUPS;
constexpr double CEA[] = CEPS;
constexpr int DIMA[] = DIM, LAA[] = LACT, LBA[] = LBIAS;

constexpr int conv_size(int i) { return CHA[i + 1] * (CHA[i] * KKA[i] * KKA[i] + CBA[i] + (CGA[i] ? 2 : 0)); }
constexpr int conv_at(int i) { return i ? conv_at(i - 1) + conv_size(i - 1) : 0; }
constexpr int CONVS = conv_at(NCONV);
constexpr int linear_at(int i) { return i ? linear_at(i - 1) + DIMA[i] * (DIMA[i - 1] + LBA[i - 1]) : CONVS; }
constexpr int PARAMETERS = linear_at(NLIN);
constexpr int widest() {
  int w = 0;
  for (int i = 0; i <= NLIN; i++) w = DIMA[i] > w ? DIMA[i] : w;
  return w;
}
