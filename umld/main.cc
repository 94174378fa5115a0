// umld: reads its options, brings up one Daemon, and serves until it is told to stop.
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "CLI/CLI.hpp"
#include "base/byte_size.h"
#include "base/status.h"
#include "spdlog/sinks/stdout_sinks.h"
#include "spdlog/spdlog.h"
#include "umld/daemon.h"
#include "umld/daemon_config.h"
#include "umld/version.h"

namespace {

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "error: umld: %s\n", std::string(status.message()).c_str());
  const std::string hint = umld::GetErrorDetail(status).hint;
  if (!hint.empty()) std::fprintf(stderr, "hint:  %s\n", hint.c_str());
  return 1;
}

bool ParseIsolation(const std::string& text, umld::DaemonConfig* config) {
  if (text == "auto") {
    config->isolation = umld::vmcore::v1::ISOLATION_AUTO;
  } else if (text == "pid-namespace") {
    config->isolation = umld::vmcore::v1::ISOLATION_PID_NAMESPACE;
  } else if (text == "user-namespace") {
    config->isolation = umld::vmcore::v1::ISOLATION_USER_NAMESPACE;
  } else if (text == "process-group") {
    config->isolation = umld::vmcore::v1::ISOLATION_PROCESS_GROUP;
  } else {
    return false;
  }
  return true;
}

// A guest takes a handful of descriptors of ours, a thousand of them more than the usual soft limit.
void RaiseFileLimit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// By default glibc keeps a heap for every few threads, none of which shrinks, and goes through all small free blocks at
// every large one: a third of the time of a list of many guests.
void TuneHeap() {
  mallopt(M_ARENA_MAX, 2);
  mallopt(M_MXFAST, 0);
}

int Main(int argc, char** argv) {
  TuneHeap();
  umld::DaemonConfig config;
  std::string disk_reserve = "256M", warm_memory, reclaim_after = "1m", isolation = "auto", confinement = "strict",
              log_level = "info", listen;
  CLI::App app("umld manages the User Mode Linux guests of this host. umlctl talks to it.", "umld");
  app.set_version_flag("--version", std::string("umld ") + umld::kVersion);
  app.add_option("--state-dir", config.state_dir, "database, images, disks, logs (root: /var/lib/umld)");
  app.add_option("--run-dir", config.run_dir, "sockets and facts of running guests (root: /run/umld)");
  app.add_option("--listen", listen, "the API's socket, unix:PATH (default: umld.sock in the run directory)");
  app.add_option("--group", config.socket_group, "this group may use the API too");
  app.add_option("--mconsole-dir", config.mconsole_dir, "where uml_mconsole looks (default: ~/.uml)");
  app.add_option("--kernel", config.default_kernel, "the kernel of guests that name none (/usr/bin/linux.uml)");
  app.add_option("--vmcore", config.vmcore_path, "the supervisor program (default: beside umld)");
  app.add_option("--isolation", isolation, "auto, pid-namespace, user-namespace or process-group");
  app.add_option("--confinement", confinement, "of guests that name none: strict or relaxed")
      ->check(CLI::IsMember({"strict", "relaxed"}));
  app.add_flag("--build-kernel", config.build_kernel,
               "build the fast kernel in the background (umlctl kernel build), unless it is there");
  app.add_option("--first-uid", config.first_uid, "confined guests have uids from here on, when umld is root")
      ->check(CLI::Range(1u, 2000000000u));
  app.add_option("--disk-reserve", disk_reserve,
                 "free space on the host's disks below which guests that would take more are paused (256M, or a "
                 "quarter of a small disk)");
  app.add_option("--warm-memory", warm_memory,
                 "what the kernels of the warm pool may have, by their guests' size (a quarter of the host's memory)");
  app.add_option(
      "--reclaim-after", reclaim_after,
      "guests that are idle so long give back the host memory that they have free, as 30s; 0: none does (1m)");
  app.add_option("--log-level", log_level, "debug, info, warn or error");
  app.set_config("--config", "", "read options from this file (INI or TOML)");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  spdlog::set_default_logger(spdlog::stderr_logger_mt("umld"));
  spdlog::set_level(spdlog::level::from_str(log_level));
  if (!ParseIsolation(isolation, &config)) {
    std::fprintf(stderr, "error: umld: --isolation %s is unknown\nhint:  see umld --help\n", isolation.c_str());
    return 2;
  }
  if (absl::StatusOr<uint64_t> reserve = umld::ParseByteSize(disk_reserve); reserve.ok()) {
    config.disk_reserve_bytes = *reserve;
  } else {
    std::fprintf(stderr, "error: umld: --disk-reserve: %s\nhint:  write it as 256M\n",
                 std::string(reserve.status().message()).c_str());
    return 2;
  }
  if (absl::StatusOr<uint64_t> bytes = umld::ParseByteSize(warm_memory); bytes.ok()) {
    config.warm_memory_bytes = *bytes;
  } else if (!warm_memory.empty()) {
    std::fprintf(stderr, "error: umld: --warm-memory: %s\nhint:  write it as 4G\n",
                 std::string(bytes.status().message()).c_str());
    return 2;
  }
  if (!absl::ParseDuration(reclaim_after, &config.reclaim_after) ||
      (config.reclaim_after != absl::ZeroDuration() && config.reclaim_after < absl::Seconds(1))) {
    std::fprintf(
        stderr,
        "error: umld: --reclaim-after: \"%s\" is no duration of a second or more\nhint:  write it as 30s, or 0 "
        "for never\n",
        reclaim_after.c_str());
    return 2;
  }
  config.relaxed = confinement == "relaxed";
  config.socket_path = listen.rfind("unix:", 0) == 0 ? listen.substr(5) : listen;
  if (absl::Status status = config.FillDefaults(); !status.ok()) return Fail(status);

  signal(SIGPIPE, SIG_IGN);
  RaiseFileLimit();
  // Blocked before any thread exists, so that only the daemon's signalfd sees them.
  sigset_t signals;
  sigemptyset(&signals);
  for (int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, number);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  absl::StatusOr<std::unique_ptr<umld::Daemon>> daemon = umld::Daemon::Create(config);
  if (!daemon.ok()) return Fail(daemon.status());
  (*daemon)->Run();
  // No destructors: they would wait for operations that wait for guests. Everything that counts is in the database.
  spdlog::shutdown();
  std::_Exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  // The options' and the log's libraries throw: without a message it would be an abort.
  try {
    return Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: umld: %s\n", error.what());
    return 1;
  }
}
