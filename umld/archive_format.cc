#include "umld/archive_format.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace umld {
namespace {

// Of a ustar header.
constexpr size_t kNameBytes = 100, kModeAt = 100, kUidAt = 108, kGidAt = 116, kSizeAt = 124, kTimeAt = 136,
                 kSumAt = 148, kTypeAt = 156, kMagicAt = 257;
constexpr size_t kShortNumber = 8, kLongNumber = 12;
constexpr absl::string_view kMagic("ustar\00000", 8);
// What the header's field for the size holds; larger ones are in the pax header alone.
constexpr uint64_t kMaxOctal = (uint64_t{1} << 33) - 1;

void PutOctal(std::string& block, size_t at, size_t bytes, uint64_t value) {
  const std::string text = absl::StrFormat("%0*o", static_cast<int>(bytes - 1), value);
  block.replace(at, text.size(), text);
}

// Digits of base 8 up to the field's end, which is a NUL or a space.
bool GetOctal(absl::string_view field, uint64_t* value) {
  *value = 0;
  size_t digits = 0;
  while (digits < field.size() && field[digits] >= '0' && field[digits] <= '7') {
    *value = *value * 8 + static_cast<uint64_t>(field[digits] - '0');
    ++digits;
  }
  return digits > 0 && field.find_first_not_of(absl::string_view("\0 ", 2), digits) == absl::string_view::npos;
}

uint64_t SumOf(absl::string_view block) {
  uint64_t sum = 0;
  for (size_t i = 0; i < block.size(); ++i) {
    const bool own = i >= kSumAt && i < kSumAt + kShortNumber;
    sum += own ? static_cast<uint64_t>(' ') : static_cast<unsigned char>(block[i]);
  }
  return sum;
}

// "27 GNU.sparse.major=1\n": the length counts itself.
std::string PaxRecord(absl::string_view key, absl::string_view value) {
  const size_t rest = key.size() + value.size() + 3;
  size_t length = rest + 1;
  while (absl::StrCat(length).size() + rest != length) ++length;
  return absl::StrCat(length, " ", key, "=", value, "\n");
}

void Pad(std::string& bytes) { bytes.append(TarPadding(bytes.size()), '\0'); }

}  // namespace

std::string TarHeader(absl::string_view name, uint64_t size, int64_t time, char type) {
  std::string block(kTarBlock, '\0');
  name.copy(block.data(), kNameBytes);
  PutOctal(block, kModeAt, kShortNumber, 0600);
  PutOctal(block, kUidAt, kShortNumber, 0);
  PutOctal(block, kGidAt, kShortNumber, 0);
  PutOctal(block, kSizeAt, kLongNumber, size > kMaxOctal ? 0 : size);
  PutOctal(block, kTimeAt, kLongNumber, static_cast<uint64_t>(std::max<int64_t>(time, 0)) & kMaxOctal);
  block[kTypeAt] = type;
  kMagic.copy(block.data() + kMagicAt, kMagic.size());
  const std::string sum = absl::StrFormat("%06o", SumOf(block));
  block.replace(kSumAt, sum.size(), sum);
  block[kSumAt + 7] = ' ';
  return block;
}

std::string SparseTarHeader(absl::string_view name, uint64_t real_size, uint64_t stored, int64_t time) {
  std::string records = absl::StrCat(
      PaxRecord("GNU.sparse.major", "1"), PaxRecord("GNU.sparse.minor", "0"), PaxRecord("GNU.sparse.name", name),
      PaxRecord("GNU.sparse.realsize", absl::StrCat(real_size)), PaxRecord("size", absl::StrCat(stored)));
  std::string header = TarHeader(absl::StrCat("PaxHeaders/", name), records.size(), time, 'x');
  Pad(records);
  return absl::StrCat(header, records, TarHeader(absl::StrCat("GNUSparseFile.0/", name), stored, time, '0'));
}

std::string SparseMap(const std::vector<Extent>& extents, uint64_t real_size) {
  std::string map = absl::StrCat(extents.size() + 1, "\n");
  for (const Extent& extent : extents) absl::StrAppend(&map, extent.offset, "\n", extent.size, "\n");
  absl::StrAppend(&map, real_size, "\n0\n");
  Pad(map);
  return map;
}

bool ParseTarBlock(absl::string_view block, TarBlock* parsed) {
  uint64_t sum = 0;
  if (block.size() != kTarBlock || block.substr(kMagicAt, kMagic.size()) != kMagic) return false;
  if (!GetOctal(block.substr(kSumAt, kShortNumber), &sum) || sum != SumOf(block)) return false;
  if (!GetOctal(block.substr(kSizeAt, kLongNumber), &parsed->size)) return false;
  const absl::string_view name = block.substr(0, kNameBytes);
  parsed->name = std::string(name.substr(0, name.find('\0')));
  parsed->type = block[kTypeAt];
  return true;
}

}  // namespace umld
