#include "umld/volume_catalog.h"

#include <cstdio>
#include <fstream>

#include "base/status.h"
#include "gtest/gtest.h"

namespace umld {
namespace {

state::DiskRow Disk(const std::string& path) {
  state::DiskRow disk;
  disk.path = path;
  return disk;
}

TEST(VolumeCatalogTest, TellsVolumesByTheirPaths) {
  const VolumeCatalog catalog("/state/volumes");
  EXPECT_EQ(catalog.PathOf("data"), "/state/volumes/data.img");
  EXPECT_EQ(catalog.NameOf("/state/volumes/data.img"), "data");
  EXPECT_EQ(catalog.Show("/state/volumes/data.img"), "volume:data");
  for (const char* other : {"/state/volumes/data", "/state/volumes/.new-x.img", "/state/volumes/../x.img",
                            "/state/volumes/a/b.img", "/state/volumes.img", "/state/umld.db", "", "data.img"}) {
    EXPECT_EQ(catalog.NameOf(other), "") << other;
    EXPECT_EQ(catalog.Show(other), other);
  }
}

TEST(VolumeCatalogTest, Names) {
  EXPECT_EQ(*ParseVolumeName("volumes/data"), "data");
  EXPECT_EQ(*ParseVolumeName("a.b-c_1"), "a.b-c_1");
  for (const char* bad : {"", ".", "..", "-x", "a/b", "a:b", "a b", "../x", "a,b"}) {
    EXPECT_EQ(GetErrorDetail(ParseVolumeName(bad).status()).reason, "INVALID_NAME") << bad;
  }
  EXPECT_FALSE(ParseVolumeName(std::string(65, 'a')).ok());
}

TEST(VolumeCatalogTest, Expands) {
  const VolumeCatalog catalog(testing::TempDir());
  std::ofstream(catalog.PathOf("data")) << "x";
  EXPECT_EQ(*catalog.Expand("ubdbr=volume:data"), "ubdbr=" + catalog.PathOf("data"));
  EXPECT_EQ(*catalog.Expand("ubd1=volume:data,,SN1"), "ubd1=" + catalog.PathOf("data") + ",,SN1");
  for (const char* same : {"ubdb=/srv/x", "ubdb=/srv/volume:data", "con1=volume:data", "mem=+1M", "ubdb", ""}) {
    EXPECT_EQ(*catalog.Expand(same), same);
  }
  EXPECT_EQ(GetErrorDetail(catalog.Expand("ubdb=volume:gone").status()).reason, "VOLUME_NOT_FOUND");
  EXPECT_EQ(GetErrorDetail(catalog.Expand("ubdb=volume:").status()).reason, "INVALID_NAME");
  EXPECT_EQ(GetErrorDetail(catalog.Expand("ubdb=volume:../umld").status()).reason, "INVALID_NAME");
  EXPECT_EQ(GetErrorDetail(catalog.Expand("ubdb=volume:data,/srv/base").status()).reason, "INVALID_SPEC");
  std::remove(catalog.PathOf("data").c_str());
}

TEST(VolumeCatalogTest, UsersAreManyAndChangesAlone) {
  VolumeCatalog catalog("/v");
  {
    const auto first = catalog.Use({Disk("/v/a.img"), Disk("/elsewhere"), Disk("/v/a.img")});
    const auto second = catalog.Use({Disk("/v/a.img")});
    ASSERT_TRUE(first.ok() && second.ok());
    EXPECT_EQ(GetErrorDetail(catalog.Change("a", "is being resized").status()).reason, "VOLUME_BUSY");
    EXPECT_TRUE(catalog.Change("b", "is being resized").ok());
  }
  auto change = catalog.Change("a", "is being resized");
  ASSERT_TRUE(change.ok());
  const absl::Status used = catalog.Use({Disk("/v/b.img"), Disk("/v/a.img")}).status();
  EXPECT_EQ(used.message(), "volume a is being resized");
  EXPECT_TRUE(catalog.Change("b", "is being deleted").ok()) << "a refused use holds nothing";
  EXPECT_FALSE(catalog.Change("a", "is being deleted").ok());
  change->reset();
  EXPECT_TRUE(catalog.Use({Disk("/v/a.img")}).ok());
}

}  // namespace
}  // namespace umld
