// Archives, folders and container images as people have them, and as somebody makes them who means harm. What comes out
// is looked at with e2fsck and debugfs.
#include "image/import.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/process.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "gtest/gtest.h"
#include "image/archive_reader.h"
#include "image/sha256.h"

namespace umld::image {
namespace {

constexpr uint64_t kSmall = 16 << 20;
constexpr int64_t kTime = 1700000000;

// Writes tars byte by byte, so that they can say anything.
class Tar {
 public:
  struct Head {
    std::string name = {};
    char type = '0';
    std::string link = {};
    uint32_t mode = 0644, uid = 0, gid = 0;
    std::string size = {};  // the field itself; empty: the data's
    uint32_t major = 0, minor = 0;
  };
  Tar& Add(const Head& head, const std::string& data = "") {
    std::string block(512, '\0');
    const auto put = [&](size_t at, const std::string& text) { block.replace(at, text.size(), text); };
    put(0, head.name.substr(0, 100));
    put(100, absl::StrFormat("%07o", head.mode));
    put(108, absl::StrFormat("%07o", head.uid));
    put(116, absl::StrFormat("%07o", head.gid));
    put(124, head.size.empty() ? absl::StrFormat("%011o", data.size()) : head.size);
    put(136, absl::StrFormat("%011o", kTime));
    put(148, std::string(8, ' '));
    block[156] = head.type;
    put(157, head.link.substr(0, 100));
    put(257, std::string("ustar\0"
                         "00",
                         8));
    put(329, absl::StrFormat("%07o", head.major));
    put(337, absl::StrFormat("%07o", head.minor));
    unsigned sum = 0;
    for (const char c : block) sum += static_cast<unsigned char>(c);
    put(148, absl::StrFormat("%06o", sum) + std::string("\0 ", 2));
    bytes_ += block + data;
    bytes_.resize((bytes_.size() + 511) / 512 * 512);
    return *this;
  }
  Tar& File(const std::string& name, const std::string& data = "x") { return Add({.name = name}, data); }
  Tar& Folder(const std::string& name) { return Add({.name = name, .type = '5', .mode = 0755}); }
  Tar& Link(const std::string& name, const std::string& to) { return Add({.name = name, .type = '2', .link = to}); }
  Tar& HardLink(const std::string& name, const std::string& to) { return Add({.name = name, .type = '1', .link = to}); }
  // For the next entry.
  Tar& Pax(const std::string& key, const std::string& value) { return Pax({{key, value}}); }
  Tar& Pax(const std::vector<std::pair<std::string, std::string>>& records) {
    std::string all;
    for (const auto& [key, value] : records) {
      const std::string record = absl::StrCat(" ", key, "=", value, "\n");
      size_t length = record.size() + 1;
      while (absl::StrCat(length).size() + record.size() != length) ++length;
      absl::StrAppend(&all, length, record);
    }
    return Add({.name = "pax", .type = 'x'}, all);
  }
  std::string End() const { return bytes_ + std::string(1024, '\0'); }

 private:
  std::string bytes_;
};

class ImportTest : public testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/import_test.XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    root_ = folder;
  }
  void TearDown() override { EXPECT_TRUE(RemoveFolder(root_).ok()); }

  std::string Path(const std::string& name) { return root_ + "/" + name; }
  std::string Write(const std::string& name, const std::string& bytes) {
    std::filesystem::create_directories(std::filesystem::path(Path(name)).parent_path());
    std::ofstream(Path(name), std::ios::binary) << bytes;
    return Path(name);
  }
  std::string Read(const std::string& name) { return ReadFile(Path(name), 1 << 30).value_or("nothing"); }
  std::string Shell(const std::string& script) {
    auto result = RunCommand({"/bin/sh", "-ec", "cd " + root_ + "\n" + script}, std::chrono::minutes(1));
    EXPECT_TRUE(result.ok() && result->exit_code == 0) << script << "\n" << (result.ok() ? result->output : "");
    return result.ok() ? result->output : "";
  }

  absl::Status Make(const std::string& source, uint64_t size = kSmall, const StepProgress& progress = nullptr) {
    const UniqueFd fd(open(source.c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_TRUE(fd.ok()) << source;
    std::ofstream(Path("image"), std::ios::trunc);
    ASSIGN_OR_RETURN(const Format format, DetectFormat(fd.get()));
    ImportOptions options;
    options.format = format;
    options.size_bytes = format == Format::kRaw || format == Format::kQcow2 ? 0 : size;
    options.scratch = [this]() -> absl::StatusOr<std::string> { return Write("scratch", ""); };
    return Import(fd.get(), Path("image"), options, progress);
  }
  absl::Status MakeTar(const Tar& tar, uint64_t size = kSmall) { return Make(Write("tar", tar.End()), size); }
  // Its reason; "OK" for none. Every error says what to do.
  std::string Reason(const absl::Status& status) {
    if (status.ok()) return "OK";
    EXPECT_FALSE(GetErrorDetail(status).hint.empty()) << status;
    return GetErrorDetail(status).reason;
  }
  void ExpectClean() {
    const auto result = RunCommand({"/sbin/e2fsck", "-fn", Path("image")}, std::chrono::minutes(1));
    ASSERT_TRUE(result.ok());
    EXPECT_EQ(result->exit_code, 0) << result->output;
  }
  // With runs of spaces as one.
  std::string Debugfs(const std::string& command) {
    const auto result = RunCommand({"/sbin/debugfs", "-R", command, Path("image")}, std::chrono::minutes(1));
    if (!result.ok()) return result.status().ToString();
    std::string flat;
    for (const char c : result->output) {
      if (c != ' ' || !absl::EndsWith(flat, " ")) flat += c;
    }
    return flat;
  }
  std::string Cat(const std::string& path) {
    Debugfs(absl::StrCat("dump ", path, " ", Path("dumped")));
    return Read("dumped");
  }

  std::string root_;
};

TEST_F(ImportTest, ATarKeepsEverything) {
  std::string content;
  for (uint32_t i = 0; i < 300000; ++i) content += static_cast<char>(i * 7919 >> 5);
  const std::string target(200, 't');
  Tar tar;
  tar.Folder("./").Folder("./etc").Folder("./dev");
  tar.Add({.name = "./etc/secret", .mode = 04751, .uid = 70001, .gid = 70002}, content);
  tar.HardLink("./etc/other", "./etc/secret").Link("./short", "etc/secret").Link("./long", target.substr(0, 99));
  tar.Pax("linkpath", target).Link("./longer", "x");
  tar.Pax("path", "./na\xc3\xafve\xff").File("./x");
  tar.Pax("SCHILY.xattr.user.color", "blue").File("./attributes");
  tar.Pax("SCHILY.acl.access", "user::rw-,user:12:r--:12,group::r--,mask::r--,other::---").File("./acl");
  tar.Add({.name = "./dev/null", .type = '3', .mode = 0666, .major = 1, .minor = 3});
  tar.Add({.name = "./dev/big", .type = '4', .mode = 0600, .major = 259, .minor = 300});
  tar.Add({.name = "./fifo", .type = '6'});
  ASSERT_EQ(Reason(MakeTar(tar)), "OK");
  ExpectClean();
  const std::string secret = Debugfs("stat /etc/secret");
  for (const char* text : {"Mode: 04751", "User: 70001 Group: 70002", "Links: 2", "2023"}) {
    EXPECT_TRUE(absl::StrContains(secret, text)) << secret;
  }
  EXPECT_EQ(Cat("/etc/other"), content);
  EXPECT_TRUE(absl::StrContains(Debugfs("stat /longer"), "Size: 200")) << Debugfs("stat /longer");
  EXPECT_TRUE(absl::StrContains(Debugfs("ls /"), "na\xc3\xafve\xff") ||
              absl::StrContains(Debugfs("ls /"), "na\\xc3\\xafve\\xff"))
      << Debugfs("ls /");
  EXPECT_TRUE(absl::StrContains(Debugfs("ea_get /attributes user.color"), "blue"));
  EXPECT_TRUE(absl::StrContains(Debugfs("ea_list /acl"), "system.posix_acl_access")) << Debugfs("ea_list /acl");
  EXPECT_TRUE(absl::StrContains(Debugfs("stat /dev/null"), "Device major/minor number: 01:03"))
      << Debugfs("stat /dev/null");
  EXPECT_TRUE(absl::StrContains(Debugfs("stat /dev/big"), "259:300")) << Debugfs("stat /dev/big");
  EXPECT_TRUE(absl::StrContains(Debugfs("stat /fifo"), "Type: FIFO"));
}

TEST_F(ImportTest, TheSameFilesAreTheSameImageHoweverPacked) {
  Write("tar", Tar().Folder("etc").File("etc/passwd", std::string(100000, 'p')).End());
  Shell("gzip -k tar; xz -k tar; zstd -q tar; bzip2 -k tar");
  ASSERT_EQ(Reason(Make(Path("tar"))), "OK");
  const std::string plain = Read("image");
  for (const char* packed : {"tar.gz", "tar.xz", "tar.zst", "tar.bz2"}) {
    ASSERT_EQ(Reason(Make(Path(packed))), "OK") << packed;
    EXPECT_TRUE(Read("image") == plain) << packed;
  }
}

TEST_F(ImportTest, HolesStayHolesAndZerosBecomeSome) {
  std::string zeros(3 << 20, '\0');
  zeros[2 << 20] = 'z';
  Write("r/zeros", zeros);
  Shell(
      "truncate -s 1T r/sparse; printf x | dd of=r/sparse bs=1 seek=777777777 conv=notrunc 2>/dev/null\n"
      "tar -S --format=pax -C r -cf sparse.tar .");
  for (const char* source : {"sparse.tar", "r"}) {
    ASSERT_EQ(Reason(Make(Path(source))), "OK") << source;
    ExpectClean();
    EXPECT_TRUE(Cat("/zeros") == zeros) << source;
    const std::string sparse = Debugfs("stat /sparse");
    EXPECT_TRUE(absl::StrContains(sparse, "Size: 1099511627776") && absl::StrContains(sparse, "Blockcount: 8"))
        << sparse;
    EXPECT_TRUE(absl::StrContains(Debugfs("stat /zeros"), "Blockcount: 8")) << Debugfs("stat /zeros");
  }
  struct stat info = {};
  ASSERT_EQ(stat(Path("image").c_str(), &info), 0);
  EXPECT_LT(info.st_blocks * 512, 2 << 20);
}

TEST_F(ImportTest, CutShortAtAnyPlace) {
  const std::string whole = Tar().Folder("a").File("a/b", std::string(2000, 'b')).File("c", "c").End();
  for (size_t size : {300, 512, 700, 1024, 1600, 3000}) {
    EXPECT_EQ(Reason(Make(Write("tar", whole.substr(0, size)))), size == 300   ? "BAD_ARCHIVE"
                                                                 : size == 512 ? "OK"
                                                                               : "BAD_ARCHIVE")
        << size;
  }
  Write("tar", whole);
  Shell("gzip -k tar; head -c 100 tar.gz >cut.gz; xz -k tar; head -c 150 tar.xz >cut.xz");
  EXPECT_EQ(Reason(Make(Path("cut.gz"))), "BAD_ARCHIVE");
  EXPECT_EQ(Reason(Make(Path("cut.xz"))), "BAD_ARCHIVE");
}

TEST_F(ImportTest, Empty) {
  EXPECT_EQ(Reason(Make(Write("nothing", ""))), "EMPTY_SOURCE");
  EXPECT_EQ(Reason(Make(Write("zeros", std::string(10240, '\0')))), "UNKNOWN_FORMAT");
  EXPECT_EQ(Reason(MakeTar(Tar().Folder("./"))), "EMPTY_SOURCE");
  EXPECT_EQ(Reason(Make(Write("text", "hello, world\n"))), "UNKNOWN_FORMAT");
  std::filesystem::create_directories(Path("folder"));
  EXPECT_EQ(Reason(Make(Path("folder"))), "EMPTY_SOURCE");
}

TEST_F(ImportTest, HugeClaims) {
  EXPECT_EQ(Reason(MakeTar(Tar().Add({.name = "huge", .size = "77777777777"}, "x"))), "BAD_ARCHIVE");
  // Base 256: 2^62 bytes.
  EXPECT_EQ(Reason(MakeTar(Tar().Add({.name = "huge", .size = std::string("\x80\0\0\0\x40\0\0\0\0\0\0\0", 12)}, "x"))),
            "BAD_ENTRY");
  EXPECT_NE(Reason(MakeTar(Tar().Add({.name = "negative", .size = std::string(12, '\xff')}, "x"))), "OK");
  // A hole of 4 EiB, as GNU's sparse format claims it.
  EXPECT_NE(Reason(MakeTar(Tar()
                               .Pax("GNU.sparse.major", "1")
                               .Pax("GNU.sparse.realsize", "4611686018427387904")
                               .File("sparse", "1\n0\n1\n"))),
            "OK");
}

TEST_F(ImportTest, NothingLeavesTheTree) {
  Write("outside/file", "untouched");
  const std::string outside = Path("outside");
  EXPECT_EQ(Reason(MakeTar(Tar().File("../outside/file"))), "BAD_ENTRY");
  EXPECT_EQ(Reason(MakeTar(Tar().File("a/../../outside/file"))), "BAD_ENTRY");
  EXPECT_EQ(Reason(MakeTar(Tar().HardLink("x", outside + "/file"))), "BAD_ENTRY");
  ASSERT_EQ(Reason(MakeTar(Tar().Link("way", outside).File("way/file", "inside").File(outside + "/other", "inside"))),
            "OK");
  ExpectClean();
  EXPECT_EQ(Cat(outside + "/file"), "inside") << "of the image, not of the host";
  EXPECT_EQ(Read("outside/file"), "untouched");
  EXPECT_FALSE(std::filesystem::exists(outside + "/other"));
  EXPECT_EQ(Reason(MakeTar(Tar().Link("a", "b").Link("b", "a").File("a/x"))), "BAD_ENTRY");
  EXPECT_EQ(Reason(MakeTar(Tar().Pax("path", std::string(256, 'n')).File("x"))), "BAD_ENTRY");
}

TEST_F(ImportTest, ABombIsNotReadToItsEnd) {
  Shell("yes bomb | head -c 200000000 >bomb; tar -cf - bomb | gzip >bomb.gz");
  EXPECT_EQ(Reason(Make(Path("bomb.gz"))), "DOES_NOT_FIT");
  uint64_t read = 0;
  Make(Path("bomb.gz"), kSmall, [&](const std::string&, uint64_t done, uint64_t) {
    read = std::max(read, done);
    return absl::OkStatus();
  }).IgnoreError();
  struct stat info = {};
  ASSERT_EQ(stat(Path("bomb.gz").c_str(), &info), 0);
  EXPECT_LE(read, static_cast<uint64_t>(info.st_size));
  EXPECT_EQ(std::filesystem::file_size(Path("image")), 0u) << "nothing is written before it is known to fit";
}

// A bomb in a bomb: each takes a thousand times as much as it is long.
TEST_F(ImportTest, WhatIsPackedTwiceIsNotUnpacked) {
  Shell(
      "mkdir d; echo x >d/x; tar -C d -cf - . | gzip | gzip >twice; tar -C d -cf - . | xz >once.xz; "
      "gzip <once.xz >both");
  EXPECT_EQ(Reason(Make(Path("twice"))), "BAD_ARCHIVE");
  EXPECT_EQ(Reason(Make(Path("both"))), "BAD_ARCHIVE");
  EXPECT_EQ(Reason(Make(Path("once.xz"))), "OK");
}

uint32_t Crc32(const std::string& bytes) {
  uint32_t crc = ~0U;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320U : 0);
  }
  return ~crc;
}

// An xz file says itself how much memory it takes to unpack it.
TEST_F(ImportTest, AnXzFileTakesNoMoreMemoryThanItMay) {
  Shell("mkdir d; echo x >d/x; tar -C d -cf - . | xz -T1 --check=none >small.xz");
  const std::string small = Read("small.xz");
  ASSERT_GT(small.size(), 24U);
  // The header of the first block: its size in words, flags, and a filter (LZMA2) with the dictionary's size.
  constexpr size_t kBlock = 12, kDictionary = kBlock + 4;
  const size_t size = (static_cast<unsigned char>(small[kBlock]) + size_t{1}) * 4;
  ASSERT_EQ(small.substr(kBlock + 2, 2), "\x21\x01");
  const auto with = [&](char dictionary) {
    std::string changed = small;
    changed[kDictionary] = dictionary;
    const uint32_t crc = Crc32(changed.substr(kBlock, size - 4));
    for (size_t i = 0; i < 4; ++i) changed[kBlock + size - 4 + i] = static_cast<char>(crc >> (8 * i));
    return Write("changed.xz", changed);
  };
  ASSERT_EQ(Reason(Make(with(small[kDictionary]))), "OK");
  constexpr char k128MiB = 30, kAlmost4GiB = 40;
  EXPECT_EQ(Reason(Make(with(k128MiB))), "OK");
  const absl::Status refused = Make(with(kAlmost4GiB));
  EXPECT_EQ(Reason(refused), "BAD_ARCHIVE");
  EXPECT_TRUE(absl::StrContains(refused.message(), "256 MiB")) << refused;
}

// libarchive keeps what it finds in them.
TEST_F(ImportTest, HeadersHaveAnEnd) {
  const auto import = [&](size_t pieces) {
    std::string map = absl::StrCat(pieces, "\n");
    for (size_t i = 0; i < pieces; ++i) map += "0\n0\n";
    map.resize((map.size() + 511) / 512 * 512);
    return MakeTar(Tar()
                       .Pax({{"GNU.sparse.major", "1"},
                             {"GNU.sparse.minor", "0"},
                             {"GNU.sparse.name", "sparse"},
                             {"GNU.sparse.realsize", "0"}})
                       .File("GNUSparseFile.0/sparse", map));
  };
  EXPECT_EQ(Reason(import(100'000)), "OK");
  const absl::Status refused = import(400'000);
  EXPECT_EQ(Reason(refused), "BAD_ARCHIVE");
  EXPECT_TRUE(absl::StrContains(refused.message(), "1 MiB of headers")) << refused;
}

// Data that nobody reads is unpacked all the same.
TEST_F(ImportTest, WhatIsSkippedCanBeCancelled) {
  Shell("truncate -s 64M zeros; tar -cf - zeros | gzip >packed");
  const UniqueFd fd(open(Path("packed").c_str(), O_RDONLY | O_CLOEXEC));
  const auto skip = [&](int most) {
    FdBytes bytes(fd.get());
    int asked = 0;
    return ReadArchive(
        bytes, [](const Entry&, EntryData&) { return absl::OkStatus(); },
        [&] { return ++asked > most ? absl::CancelledError("enough") : absl::OkStatus(); });
  };
  EXPECT_EQ(skip(100).code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(skip(1'000'000).ok());
}

TEST_F(ImportTest, ManyFilesInOneFolderAndManyNamesOfOneFile) {
  Tar tar;
  for (int i = 0; i < 20000; ++i) tar.Add({.name = absl::StrCat("many/file-with-a-name-", i)});
  tar.File("one");
  for (int i = 0; i < 2000; ++i) tar.HardLink(absl::StrCat("names/", i), "one");
  ASSERT_EQ(Reason(MakeTar(tar, 0)), "OK");
  ExpectClean();
  EXPECT_TRUE(absl::StrContains(Debugfs("stat /one"), "Links: 2001"));
}

TEST_F(ImportTest, ItSaysWhatDoesNotFit) {
  std::string noise(4 << 20, 'n');
  const absl::Status status = MakeTar(Tar().File("noise", noise), 3 << 20);
  EXPECT_EQ(Reason(status), "DOES_NOT_FIT");
  Tar many;
  for (int i = 0; i < 3000; ++i) many.Add({.name = absl::StrCat(i)});
  EXPECT_EQ(Reason(MakeTar(many, 2 << 20)), "OK");
  ExpectClean();
}

TEST_F(ImportTest, WithoutASizeThereIsRoom) {
  ASSERT_EQ(Reason(MakeTar(Tar().File("a", std::string(1 << 20, 'a')), 0)), "OK");
  ExpectClean();
  EXPECT_GT(std::filesystem::file_size(Path("image")), uint64_t{1} << 30);
}

TEST_F(ImportTest, SomebodyWantsItToEnd) {
  const StepProgress stop = [](const std::string&, uint64_t, uint64_t) { return absl::CancelledError("enough"); };
  EXPECT_EQ(Make(Write("tar", Tar().File("a").End()), kSmall, stop).code(), absl::StatusCode::kCancelled);
}

TEST_F(ImportTest, AFolder) {
  Write("r/etc/hello", "hello");
  Shell(
      "ln r/etc/hello r/etc/again; ln -s /etc/shadow r/link; mkfifo r/fifo; chmod 600 r/etc/hello; mkdir -m 1777 "
      "r/tmp");
  ASSERT_EQ(Reason(Make(Path("r"))), "OK");
  ExpectClean();
  EXPECT_EQ(Cat("/etc/again"), "hello");
  EXPECT_TRUE(absl::StrContains(Debugfs("stat /etc/hello"), "Links: 2"));
  EXPECT_TRUE(absl::StrContains(Debugfs("stat /link"), "Type: symlink")) << "not what it leads to";
  EXPECT_TRUE(absl::StrContains(Debugfs("stat /fifo"), "Type: FIFO"));
  EXPECT_TRUE(absl::StrContains(Debugfs("stat /tmp"), "Mode: 01777"));
}

class LayersTest : public ImportTest {
 protected:
  // Puts bytes where an OCI layout has them; returns their digest.
  std::string Blob(const std::string& bytes) {
    Sha256 sha;
    sha.Add(bytes);
    const std::string digest = sha.TakeName();
    Write("oci/blobs/sha256/" + digest.substr(7), bytes);
    return digest;
  }
  static std::string Descriptor(const std::string& digest, const std::string& more = "") {
    return absl::StrCat("{\"mediaType\":\"x\",\"digest\":\"", digest, "\",\"size\":1", more, "}");
  }
  std::string Manifest(const std::vector<std::string>& layers) {
    std::vector<std::string> descriptors;
    for (const std::string& layer : layers) descriptors.push_back(Descriptor(layer));
    return Blob(absl::StrCat("{\"schemaVersion\":2,\"layers\":[", absl::StrJoin(descriptors, ","), "]}"));
  }
  void Index(const std::vector<std::string>& descriptors) {
    Write("oci/index.json", absl::StrCat("{\"manifests\":[", absl::StrJoin(descriptors, ","), "]}"));
  }
  std::vector<std::string> TwoLayers() {
    return {Tar()
                .Folder("usr")
                .Folder("usr/bin")
                .Link("bin", "usr/bin")
                .File("usr/bin/a", "a")
                .File("gone")
                .File("dir/x")
                .End(),
            Tar().File(".wh.gone", "").File("bin/b", "b").File("dir/.wh..wh..opq", "").File("dir/y").End()};
  }
  void ExpectTwoLayers() {
    ExpectClean();
    EXPECT_EQ(Cat("/usr/bin/a"), "a");
    EXPECT_EQ(Cat("/usr/bin/b"), "b");
    const std::string all = Debugfs("ls /") + Debugfs("ls /dir");
    EXPECT_TRUE(absl::StrContains(all, " y ") || absl::StrContains(all, ") y")) << all;
    EXPECT_FALSE(absl::StrContains(all, "gone")) << all;
    EXPECT_FALSE(absl::StrContains(all, ".wh.")) << all;
    EXPECT_TRUE(absl::StrContains(Debugfs("stat /dir/x"), "not found")) << Debugfs("stat /dir/x");
  }
};

TEST_F(LayersTest, AnOciLayoutAsAFolderAndAsATar) {
  std::vector<std::string> digests;
  for (const std::string& layer : TwoLayers()) digests.push_back(Blob(layer));
  const std::string other = Manifest({digests[0]});
  Index({Descriptor(other, ",\"platform\":{\"architecture\":\"arm64\",\"os\":\"linux\"}"),
         Descriptor(Manifest(digests), ",\"platform\":{\"architecture\":\"amd64\",\"os\":\"linux\"}")});
  ASSERT_EQ(Reason(Make(Path("oci"))), "OK");
  ExpectTwoLayers();
  Shell("tar -C oci -cf oci.tar blobs index.json");
  ASSERT_EQ(Reason(Make(Path("oci.tar"))), "OK");
  ExpectTwoLayers();
}

TEST_F(LayersTest, WhatDockerSaves) {
  const std::string id(64, 'a');
  const std::vector<std::string> layers = TwoLayers();
  Write("docker/" + id + "/layer.tar", layers[0]);
  Write("docker/b/layer.tar", layers[1]);
  Write("docker/manifest.json",
        absl::StrCat("[{\"Config\":\"c.json\",\"Layers\":[\"", id, "/layer.tar\",\"c/layer.tar\"]}]"));
  Shell("mkdir docker/c; ln -s ../b/layer.tar docker/c/layer.tar; tar -C docker -cf docker.tar " + id +
        " b c manifest.json");
  ASSERT_EQ(Reason(Make(Path("docker.tar"))), "OK");
  ExpectTwoLayers();
  ASSERT_EQ(Reason(Make(Path("docker"))), "OK");
  ExpectTwoLayers();
}

TEST_F(LayersTest, BadContainerImages) {
  const std::string layer = Blob(Tar().File("a").End());
  const std::string manifest = Manifest({layer});
  const auto reason = [&] { return Reason(Make(Path("oci"))); };
  Index({});
  EXPECT_EQ(reason(), "BAD_CONTAINER_IMAGE");
  Index({Descriptor(manifest), Descriptor(manifest)});
  EXPECT_EQ(reason(), "BAD_CONTAINER_IMAGE") << "which of them?";
  Index({Descriptor("sha256:../../../../etc/passwd")});
  EXPECT_EQ(reason(), "BAD_CONTAINER_IMAGE");
  Index({Descriptor("sha256:" + std::string(64, '0'))});
  EXPECT_EQ(reason(), "BAD_CONTAINER_IMAGE") << "not there";
  Write("oci/index.json", "{\"manifests\":");
  EXPECT_EQ(reason(), "BAD_CONTAINER_IMAGE");
  Write("oci/index.json", "[1,2,3]");
  EXPECT_EQ(reason(), "BAD_CONTAINER_IMAGE");
  // Deeper than a stack, as a manifest and as its platform.
  const std::string deep = std::string(1 << 20, '[') + std::string(1 << 20, ']');
  for (const std::string& descriptor : {deep, "{\"platform\":" + deep + "}"}) {
    Index({descriptor});
    EXPECT_EQ(reason(), "BAD_CONTAINER_IMAGE");
  }
  Index({Descriptor(Manifest({}))});
  EXPECT_EQ(reason(), "BAD_CONTAINER_IMAGE");
  // A layer that is not what its name says.
  Index({Descriptor(manifest)});
  ASSERT_EQ(reason(), "OK");
  Write("oci/blobs/sha256/" + layer.substr(7), Tar().File("b").End());
  EXPECT_EQ(reason(), "BAD_CONTAINER_IMAGE");
  // One that is a way out of the folder.
  std::filesystem::remove(Path("oci/blobs/sha256/" + layer.substr(7)));
  Write("secret.tar", Tar().File("a").End());
  std::filesystem::create_symlink(Path("secret.tar"), Path("oci/blobs/sha256/" + layer.substr(7)));
  EXPECT_EQ(reason(), "BAD_CONTAINER_IMAGE");
}

// A few bytes that stand for more zeros than anybody can read.
TEST_F(LayersTest, ALayerHasNoHoles) {
  const std::string layer = Blob(Tar().File("a").End());
  Index({Descriptor(Manifest({layer}))});
  Shell("tar --sparse -C oci -cf good.tar index.json blobs");
  EXPECT_EQ(Reason(Make(Path("good.tar"))), "OK");
  Shell(absl::StrCat("printf x | dd of=oci/blobs/sha256/", layer.substr(7),
                     " bs=1 seek=8G conv=notrunc 2>/dev/null; tar --sparse -C oci -cf bad.tar index.json blobs"));
  const absl::Status refused = Make(Path("bad.tar"));
  EXPECT_EQ(Reason(refused), "BAD_CONTAINER_IMAGE");
  EXPECT_TRUE(absl::StrContains(refused.message(), "holes")) << refused;
}

TEST_F(LayersTest, ALayerEndsWhereItsArchiveDoes) {
  const std::string tar = Tar().File("a").End();
  for (const size_t more : {size_t{1} << 20, size_t{32} << 20}) {
    Index({Descriptor(Manifest({Blob(tar + std::string(more, '\0'))}))});
    EXPECT_EQ(Reason(Make(Path("oci"))), more < (16 << 20) ? "OK" : "BAD_CONTAINER_IMAGE") << more;
  }
}

TEST_F(ImportTest, Raw) {
  Shell("truncate -s 8M fs; /sbin/mke2fs -q -b 4096 -t ext4 fs; printf end >>fs");
  ASSERT_EQ(Reason(Make(Path("fs"))), "OK");
  const std::string fs = Read("fs"), copied = Read("image");
  EXPECT_EQ(copied.size(), (8u << 20) + 512) << "whole sectors";
  EXPECT_TRUE(copied.substr(0, fs.size()) == fs);
  struct stat info = {};
  ASSERT_EQ(stat(Path("image").c_str(), &info), 0);
  EXPECT_LT(info.st_blocks * 512, 4 << 20);
  for (const char* size : {"1024", "2048"}) {
    Shell(absl::StrCat("rm fs; truncate -s 8M fs; /sbin/mke2fs -q -b ", size, " fs; rm -f image"));
    EXPECT_EQ(Reason(Make(Path("fs"))), "SMALL_BLOCKS");
  }
}

TEST_F(ImportTest, Qcow2) {
  Shell(
      "truncate -s 8M fs; /sbin/mke2fs -q -b 4096 -t ext4 fs; qemu-img convert -c -O qcow2 fs good.qcow2\n"
      "qemu-img create -q -f qcow2 -b /etc/passwd -F raw backing.qcow2 1M\n"
      "qemu-img create -q -f qcow2 -o data_file=/tmp/no-such-umld-file,data_file_raw=on data.qcow2 1M; rm -f "
      "/tmp/no-such-umld-file\n"
      "qemu-img create -q -f qcow2 huge.qcow2 20T; head -c 50 good.qcow2 >cut.qcow2; head -c 66000 good.qcow2 "
      ">half.qcow2");
  ASSERT_EQ(Reason(Make(Path("good.qcow2"))), "OK");
  EXPECT_TRUE(Read("image") == Read("fs"));
  // A table of what is in use that is as long as the file says it is: 16 clusters of 512 bytes for 64 GiB.
  Shell(
      "qemu-img create -q -f qcow2 -o cluster_size=512,refcount_bits=64 greedy.qcow2 1M; truncate -s 64G greedy.qcow2");
  for (const char* name : {"backing", "data", "huge", "cut", "half", "greedy"}) {
    EXPECT_EQ(Reason(Make(Path(absl::StrCat(name, ".qcow2")))), "BAD_QCOW2") << name;
  }
}

TEST_F(ImportTest, OtherThings) {
  EXPECT_EQ(Reason(Make(Write("vmdk", "KDMV" + std::string(600, 'x')))), "UNKNOWN_FORMAT");
  EXPECT_EQ(Reason(Make(Write("cow", "OOOM" + std::string(600, 'x')))), "UNKNOWN_FORMAT");
  EXPECT_EQ(Reason(Make("/dev/null")), "UNKNOWN_FORMAT");
}

}  // namespace
}  // namespace umld::image
