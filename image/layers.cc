#include "image/layers.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "image/archive_reader.h"
#include "image/sha256.h"

namespace umld::image {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxJson = 4 << 20;
constexpr size_t kMaxLayers = 1000;
constexpr int kMaxIndexes = 4;

absl::Status BadImage(absl::string_view why) {
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("as a container image: ", why),
                   {"BAD_CONTAINER_IMAGE", "",
                    "give an OCI image layout (skopeo copy ... oci:FOLDER) or what `docker save IMAGE` writes"});
}

// Paths within the layout, whatever is around it: "a/b".
std::string Plain(absl::string_view path) {
  std::vector<absl::string_view> parts;
  for (absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else if (part != ".") {
      parts.push_back(part);
    }
  }
  return absl::StrJoin(parts, "/");
}

// The files of a layout.
class Blobs {
 public:
  virtual ~Blobs() = default;
  virtual absl::Status Read(const std::string& path, const std::function<absl::Status(ByteSource&)>& take) = 0;

  absl::StatusOr<Json> ReadJson(const std::string& path) {
    std::string text;
    RETURN_IF_ERROR(Read(path, [&](ByteSource& bytes) -> absl::Status {
      char buffer[64 << 10];
      while (true) {
        ASSIGN_OR_RETURN(const size_t got, bytes.Read(buffer, sizeof(buffer)));
        if (got == 0) return absl::OkStatus();
        text.append(buffer, got);
        if (text.size() > kMaxJson) return BadImage(absl::StrCat(path, " is too long"));
      }
    }));
    Json json = Json::parse(text, nullptr, false);
    if (json.is_discarded()) return BadImage(absl::StrCat(path, " is no JSON"));
    return json;
  }
};

class FolderBlobs final : public Blobs {
 public:
  explicit FolderBlobs(int fd) : fd_(fd) {}
  absl::Status Read(const std::string& path, const std::function<absl::Status(ByteSource&)>& take) override {
    open_how how = {};
    how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    const UniqueFd file(static_cast<int>(syscall(SYS_openat2, fd_, path.c_str(), &how, sizeof(how))));
    if (!file.ok() && (errno == ENOENT || errno == EXDEV || errno == ELOOP)) {
      return BadImage(absl::StrCat(path, errno == ENOENT ? " is missing" : " leads out of the folder"));
    }
    if (!file.ok()) return ErrnoError(errno, absl::StrCat("open ", path));
    struct stat info = {};
    if (fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) return BadImage(absl::StrCat(path, " is no file"));
    FdBytes bytes(file.get());
    return take(bytes);
  }

 private:
  const int fd_;
};

// The content of an entry as bytes. No holes: a few bytes would stand for more zeros than anybody can read.
class EntryBytes final : public ByteSource {
 public:
  explicit EntryBytes(EntryData* data) : data_(data) {}
  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    if (piece_.bytes.empty()) {
      ASSIGN_OR_RETURN(piece_, data_->Next());
      if (piece_.bytes.empty()) return 0;
    }
    if (at_ != piece_.offset) return BadImage("a file of it has holes; make the archive without --sparse");
    const size_t count = std::min(size, piece_.bytes.size());
    piece_.bytes.copy(buffer, count);
    piece_.bytes.remove_prefix(count);
    piece_.offset += count;
    at_ += count;
    return count;
  }

 private:
  EntryData* const data_;
  EntryData::Piece piece_;
  uint64_t at_ = 0;
};

// A tar is gone through from its beginning for each of them: nothing of it is unpacked anywhere.
class TarBlobs final : public Blobs {
 public:
  TarBlobs(int fd, MayGoOn may_go_on) : fd_(fd), may_go_on_(std::move(may_go_on)) {}

  absl::Status Read(const std::string& path, const std::function<absl::Status(ByteSource&)>& take) override {
    std::string wanted = Plain(path);
    // docker save once wrote a layer that it had written before as a symbolic link.
    for (int links = 0; links < 8; ++links) {
      bool found = false;
      std::string next;
      absl::Status taken;
      FdBytes outer(fd_);
      const absl::Status status = ReadArchive(
          outer,
          [&](const Entry& entry, EntryData& data) -> absl::Status {
            if (Plain(entry.path) != wanted) return absl::OkStatus();
            found = true;
            if (S_ISLNK(entry.mode)) {
              const size_t slash = wanted.rfind('/');
              next = Plain(absl::StrCat(slash == std::string::npos ? "" : wanted.substr(0, slash), "/", entry.target));
            } else if (!entry.hard_link.empty()) {
              next = Plain(entry.hard_link);
            } else {
              EntryBytes bytes(&data);
              taken = take(bytes);
            }
            return absl::CancelledError("found");
          },
          may_go_on_);
      if (!found) {
        RETURN_IF_ERROR(status);
        return BadImage(absl::StrCat(wanted, " is missing"));
      }
      if (next.empty()) return taken;
      wanted = next;
    }
    return BadImage(absl::StrCat(path, " is a link to a link to a link"));
  }

 private:
  const int fd_;
  const MayGoOn may_go_on_;
};

class HashedBytes final : public ByteSource {
 public:
  explicit HashedBytes(ByteSource* bytes) : bytes_(bytes) {}
  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    ASSIGN_OR_RETURN(const size_t got, bytes_->Read(buffer, size));
    sha_.Add({buffer, got});
    return got;
  }
  // Reads what is left: the padding of an archive that has been read.
  absl::StatusOr<std::string> Digest() {
    constexpr size_t kMostPadding = 16 << 20;
    char buffer[64 << 10];
    for (size_t left = 0; left <= kMostPadding;) {
      ASSIGN_OR_RETURN(const size_t got, Read(buffer, sizeof(buffer)));
      if (got == 0) return sha_.TakeName();
      left += got;
    }
    return BadImage("a layer goes on behind its end");
  }

 private:
  ByteSource* const bytes_;
  Sha256 sha_;
};

class Layer final : public EntrySource {
 public:
  Layer(std::shared_ptr<Blobs> blobs, std::string path, std::string digest, MayGoOn may_go_on)
      : blobs_(std::move(blobs)),
        path_(std::move(path)),
        digest_(std::move(digest)),
        may_go_on_(std::move(may_go_on)) {}
  absl::Status ForEach(const EntryVisitor& visit) override {
    return blobs_->Read(path_, [&](ByteSource& bytes) -> absl::Status {
      HashedBytes hashed(&bytes);
      RETURN_IF_ERROR(ReadArchive(hashed, visit, may_go_on_));
      if (digest_.empty()) return absl::OkStatus();
      ASSIGN_OR_RETURN(const std::string digest, hashed.Digest());
      if (digest != digest_) return BadImage(absl::StrCat("the layer ", digest_, " is in truth ", digest));
      digest_.clear();
      return absl::OkStatus();
    });
  }
  std::pair<uint64_t, uint64_t> Position() const override { return {0, 0}; }

 private:
  const std::shared_ptr<Blobs> blobs_;
  const std::string path_;
  std::string digest_;  // to be checked; empty: it has been, or there is none
  const MayGoOn may_go_on_;
};

using Layers = std::vector<std::unique_ptr<EntrySource>>;

std::string Text(const Json& json, const char* key) {
  if (!json.is_object()) return "";
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

const Json* List(const Json& json, const char* key) {
  if (!json.is_object()) return nullptr;
  const auto found = json.find(key);
  return found != json.end() && found->is_array() ? &*found : nullptr;
}

absl::StatusOr<std::string> BlobPath(const std::string& digest) {
  absl::string_view digits = digest;
  if (!absl::ConsumePrefix(&digits, "sha256:") || digits.size() != 64 ||
      digits.find_first_not_of("0123456789abcdef") != absl::string_view::npos) {
    return BadImage(absl::StrCat("\"", absl::CHexEscape(digest.substr(0, 100)), "\" is no digest"));
  }
  return absl::StrCat("blobs/sha256/", digits);
}

// The one manifest, or the one for this kind of machine; within `index`. Nothing of a stranger's JSON is copied: that
// takes stack for each level of it.
absl::StatusOr<const Json*> PickManifest(const Json& index) {
  const Json* const manifests = List(index, "manifests");
  if (manifests == nullptr || manifests->empty()) return BadImage("its index names no manifest");
  const Json none;
  std::vector<const Json*> fitting;
  for (const Json& manifest : *manifests) {
    const Json& platform = manifest.is_object() && manifest.contains("platform") ? manifest["platform"] : none;
    const std::string machine = Text(platform, "architecture"), system = Text(platform, "os");
    // What says nothing fits anything; an attestation says "unknown".
    if (platform.is_null() || (machine == "amd64" && system == "linux")) fitting.push_back(&manifest);
  }
  if (fitting.empty()) return BadImage("there is none for linux/amd64 in it");
  if (fitting.size() > 1) return BadImage("there are several images in it");
  return fitting[0];
}

absl::StatusOr<Layers> OciLayers(const std::shared_ptr<Blobs>& blobs, Json index, const MayGoOn& may_go_on) {
  for (int depth = 0; depth < kMaxIndexes; ++depth) {
    ASSIGN_OR_RETURN(const Json* const chosen, PickManifest(index));
    ASSIGN_OR_RETURN(const std::string path, BlobPath(Text(*chosen, "digest")));
    ASSIGN_OR_RETURN(Json manifest, blobs->ReadJson(path));
    const Json* const layers = List(manifest, "layers");
    if (layers == nullptr) {
      index = std::move(manifest);
      continue;
    }
    if (layers->size() > kMaxLayers) return BadImage("it has more than 1,000 layers");
    Layers found;
    for (const Json& layer : *layers) {
      const std::string type = Text(layer, "mediaType");
      if (absl::StrContains(type, "encrypted")) return BadImage("a layer is encrypted");
      const std::string digest = Text(layer, "digest");
      ASSIGN_OR_RETURN(std::string blob, BlobPath(digest));
      found.push_back(std::make_unique<Layer>(blobs, std::move(blob), digest, may_go_on));
    }
    return found;
  }
  return BadImage("its indexes name each other");
}

absl::StatusOr<Layers> DockerLayers(const std::shared_ptr<Blobs>& blobs, const Json& manifest,
                                    const MayGoOn& may_go_on) {
  if (!manifest.is_array() || manifest.empty()) return BadImage("manifest.json names no image");
  if (manifest.size() > 1) return BadImage("there are several images in it");
  const Json* const layers = List(manifest[0], "Layers");
  if (layers == nullptr || layers->size() > kMaxLayers) return BadImage("manifest.json names no layers, or too many");
  Layers found;
  for (const Json& layer : *layers) {
    if (!layer.is_string()) return BadImage("manifest.json names a layer that is no path");
    found.push_back(std::make_unique<Layer>(blobs, Plain(layer.get<std::string>()), "", may_go_on));
  }
  return found;
}

}  // namespace

absl::StatusOr<std::vector<std::unique_ptr<EntrySource>>> FindLayers(int fd, const MayGoOn& may_go_on) {
  struct stat info = {};
  if (fstat(fd, &info) != 0) return ErrnoError(errno, "read the source");
  std::shared_ptr<Blobs> blobs;
  if (S_ISDIR(info.st_mode)) {
    blobs = std::make_shared<FolderBlobs>(fd);
  } else {
    blobs = std::make_shared<TarBlobs>(fd, may_go_on);
  }
  absl::StatusOr<Layers> layers;
  absl::StatusOr<Json> index = blobs->ReadJson("index.json");
  if (index.ok()) {
    layers = OciLayers(blobs, *std::move(index), may_go_on);
  } else if (GetErrorDetail(index.status()).reason == "BAD_CONTAINER_IMAGE") {
    ASSIGN_OR_RETURN(const Json manifest, blobs->ReadJson("manifest.json"));
    layers = DockerLayers(blobs, manifest, may_go_on);
  } else {
    layers = index.status();
  }
  if (layers.ok() && layers->empty()) return BadImage("it has no layers");
  return layers;
}

}  // namespace umld::image
