#include "umld/api_server.h"

#include <fcntl.h>
#include <grp.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_posix.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include <cerrno>
#include <cstring>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "spdlog/spdlog.h"

namespace umld {
namespace {

absl::Status InUse(const std::string& path) {
  return MakeError(absl::StatusCode::kAlreadyExists, absl::StrCat(path, " is served by another umld already"),
                   {"SOCKET_IN_USE", path, "stop that one, or choose another socket with --listen"});
}

// Whether somebody accepts connections at `address`.
bool IsServed(const sockaddr_un& address) {
  UniqueFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 || errno == EAGAIN;
}

absl::StatusOr<UniqueFd> BindSocket(const std::string& path, mode_t mode, gid_t group) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("the socket's path is longer than ", sizeof(address.sun_path) - 1, " bytes: ", path),
                     {"SOCKET_PATH_TOO_LONG", path, "choose a shorter one with --listen"});
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  struct stat info = {};
  if (lstat(path.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode)) {
      return MakeError(absl::StatusCode::kAlreadyExists, absl::StrCat(path, " exists and is not a socket"),
                       {"FILE_EXISTS", path, "move it away, or choose another socket with --listen"});
    }
    if (IsServed(address)) return InUse(path);
    unlink(path.c_str());
  }
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.ok()) return ErrnoError(errno, "socket");
  // On a socket that is not bound yet, fchmod decides the mode of the file that bind makes (less the umask).
  if (fchmod(fd.get(), mode) != 0) return ErrnoError(errno, "fchmod");
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoError(errno, absl::StrCat("bind ", path));
  }
  if (group != static_cast<gid_t>(-1) && chown(path.c_str(), static_cast<uid_t>(-1), group) != 0) {
    return ErrnoError(errno, absl::StrCat("give ", path, " to its group"));
  }
  if (chmod(path.c_str(), mode) != 0) return ErrnoError(errno, absl::StrCat("chmod ", path));
  if (listen(fd.get(), 512) != 0) return ErrnoError(errno, absl::StrCat("listen ", path));
  return fd;
}

}  // namespace

absl::StatusOr<ApiSocket> OpenApiSocket(const std::string& path, const std::string& group) {
  const int passed = sd_listen_fds(/*unset_environment=*/1);
  if (passed > 0) {
    UniqueFd fd(SD_LISTEN_FDS_START);
    for (int extra = 1; extra < passed; ++extra) close(SD_LISTEN_FDS_START + extra);
    if (sd_is_socket_unix(fd.get(), SOCK_STREAM, 1, nullptr, 0) <= 0) {
      return MakeError(absl::StatusCode::kInvalidArgument,
                       "systemd passed something that is not a listening Unix socket",
                       {"INVALID_ACTIVATION", "", "see ListenStream= in umld.socket"});
    }
    fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
    return ApiSocket{std::move(fd), ""};
  }
  if (group.empty()) {
    ASSIGN_OR_RETURN(UniqueFd fd, BindSocket(path, 0600, static_cast<gid_t>(-1)));
    return ApiSocket{std::move(fd), path};
  }
  const struct group* entry = getgrnam(group.c_str());
  if (entry == nullptr) {
    return MakeError(absl::StatusCode::kNotFound, absl::StrCat("there is no group \"", group, "\""),
                     {"GROUP_NOT_FOUND", group, absl::StrCat("addgroup --system ", group)});
  }
  ASSIGN_OR_RETURN(UniqueFd fd, BindSocket(path, 0660, entry->gr_gid));
  return ApiSocket{std::move(fd), path};
}

constexpr int kMostRequest = 4 << 20;
constexpr int kMostCallsOfAConnection = 1000;
constexpr size_t kMostMemory = size_t{1} << 30;

absl::StatusOr<std::unique_ptr<ApiServer>> ApiServer::Create(EventLoop* loop, UniqueFd listener,
                                                             const std::vector<grpc::Service*>& services) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  for (grpc::Service* service : services) builder.RegisterService(service);
  builder.SetMaxReceiveMessageSize(kMostRequest);
  // gRPC takes in the whole of a message before it sees that it is too long, and unpacks it: nobody packs here, and all
  // calls together have bounds.
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMostCallsOfAConnection);
  builder.SetResourceQuota(grpc::ResourceQuota("api").Resize(kMostMemory));
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return absl::InternalError("gRPC did not start");
  return std::unique_ptr<ApiServer>(new ApiServer(loop, std::move(listener), std::move(server)));
}

ApiServer::ApiServer(EventLoop* loop, UniqueFd listener, std::unique_ptr<grpc::Server> server)
    : loop_(loop), listener_(std::move(listener)), server_(std::move(server)) {}

ApiServer::~ApiServer() = default;

void ApiServer::Serve() {
  loop_->Post([this] { loop_->Watch(listener_.get(), EPOLLIN, [this](uint32_t) { Accept(); }); });
}

void ApiServer::Accept() {
  // Whoever connects again and again gets his turn and no more: the loop has other work.
  constexpr int kAtOnce = 16;
  for (int i = 0; i < kAtOnce; ++i) {
    UniqueFd connection(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (connection.ok()) {
      grpc::AddInsecureChannelFromFd(server_.get(), connection.release());
      continue;
    }
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return;
    // Out of descriptors: the connection stays in the queue, and looking at it without end would burn a processor.
    spdlog::error("accept: {}", std::strerror(errno));
    loop_->SetEvents(listener_.get(), 0);
    loop_->RunAfter(std::chrono::milliseconds(100), [this] { loop_->SetEvents(listener_.get(), EPOLLIN); });
    return;
  }
}

void ApiServer::Shutdown(std::chrono::milliseconds grace) {
  std::promise<void> unwatched;
  loop_->Post([this, &unwatched] {
    loop_->Unwatch(listener_.get());
    unwatched.set_value();
  });
  unwatched.get_future().wait();
  server_->Shutdown(std::chrono::system_clock::now() + grace);
}

}  // namespace umld
