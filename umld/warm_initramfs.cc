#include "umld/warm_initramfs.h"

#include <sys/stat.h>

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "guest/warm_init.h"

namespace umld {
namespace {

constexpr char kMagic[] = "070701";
constexpr uint32_t kConsoleMajor = 5, kConsoleMinor = 1;

void Pad(std::string* archive) { archive->append((4 - archive->size() % 4) % 4, '\0'); }

void Add(std::string* archive, uint32_t inode, absl::string_view name, mode_t mode, absl::string_view content,
         uint32_t major = 0, uint32_t minor = 0) {
  // inode, mode, uid, gid, links, mtime, size, device (2), the node's device (2), length of the name, checksum (none)
  const uint32_t fields[] = {inode,
                             mode,
                             0,
                             0,
                             1,
                             0,
                             static_cast<uint32_t>(content.size()),
                             0,
                             0,
                             major,
                             minor,
                             static_cast<uint32_t>(name.size() + 1),
                             0};
  archive->append(kMagic);
  for (const uint32_t field : fields) absl::StrAppendFormat(archive, "%08X", field);
  absl::StrAppend(archive, name, absl::string_view("\0", 1));
  Pad(archive);
  archive->append(content.data(), content.size());
  Pad(archive);
}

}  // namespace

std::string WarmInitramfs() {
  std::string archive;
  uint32_t inode = 0;
  for (const char* folder : {"dev", "proc", "root"}) Add(&archive, ++inode, folder, S_IFDIR | 0755, "");
  Add(&archive, ++inode, "dev/console", S_IFCHR | 0600, "", kConsoleMajor, kConsoleMinor);
  Add(&archive, ++inode, "init", S_IFREG | 0755, guest::WarmInit());
  Add(&archive, 0, "TRAILER!!!", 0, "");
  return archive;
}

}  // namespace umld
