// api_load SOCKET WHAT ...: loads the API of an umld as many programs that stay connected do, and prints what it
// measured as one object in JSON. Times are in seconds.
//
//   create PREFIX COUNT CLIENTS MIB [IMAGE]
//                                 COUNT guests, defined and no more, by CLIENTS at once; each waits for its answer
//   list PAGE REPS                all guests, in pages of PAGE
//   plug CLIENTS SPECS GUEST...   SPECS (joined by ';') into every GUEST, then out; a client has guests of its own
//   read GUEST                    GetGuest every 2 ms until the standard input ends
//   watch COUNT GUEST             COUNT watchers; then one change of GUEST, which every one has to see
//   answer GUEST...               every GUEST's mconsole says its version, and its con0 echoes what is typed, or is
//                                 named as silent after half a minute
//   console CONSOLE SECONDS       bytes per second of what CONSOLE prints between its marks begin-text and end-text
//   terminal SECONDS              the same of the terminal that is the standard input; SOCKET is not used
#include <grpcpp/grpcpp.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "google/protobuf/arena.h"
#include "umld/v1/services.grpc.pb.h"

namespace {

namespace v1 = umld::v1;
using Clock = std::chrono::steady_clock;

constexpr int kWatchersPerConnection = 100;
constexpr std::string_view kBegin = "begin-text", kEnd = "end-text";

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "error: api_load: %s\n", what.c_str());
  std::exit(1);
}

void Check(const char* what, const grpc::Status& status) {
  if (!status.ok()) Fail(std::string(what) + ": " + status.error_message());
}

// A connection of its own: by default gRPC shares one among channels to the same place.
std::shared_ptr<grpc::Channel> Connect(const std::string& socket) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(64 << 20);
  std::shared_ptr<grpc::Channel> channel =
      grpc::CreateCustomChannel("unix:" + socket, grpc::InsecureChannelCredentials(), arguments);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10))) Fail("cannot connect");
  return channel;
}

void PrintList(const char* name, const std::vector<double>& values, const char* end) {
  std::printf("\"%s\": [", name);
  for (size_t i = 0; i < values.size(); ++i) std::printf("%s%.6f", i == 0 ? "" : ", ", values[i]);
  std::printf("]%s", end);
}

// Runs `body` for each client in a thread of its own, each with its connection, which is there before the clock starts.
double Clients(const std::string& socket, int count, const std::function<void(int, v1::Guests::Stub&)>& body) {
  std::vector<std::unique_ptr<v1::Guests::Stub>> stubs;
  stubs.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) stubs.push_back(v1::Guests::NewStub(Connect(socket)));
  const Clock::time_point start = Clock::now();
  std::vector<std::thread> threads;
  threads.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) threads.emplace_back([&, i] { body(i, *stubs[i]); });
  for (std::thread& thread : threads) thread.join();
  return SecondsSince(start);
}

void Create(const std::string& socket, const std::string& prefix, int count, int clients, int mebibytes,
            const std::string& image) {
  std::atomic<int> next = 0;
  const double seconds = Clients(socket, clients, [&](int, v1::Guests::Stub& stub) {
    for (int i = next++; i < count; i = next++) {
      grpc::ClientContext context;
      v1::CreateGuestRequest request;
      request.mutable_guest()->set_name("guests/" + prefix + std::to_string(i));
      request.mutable_guest()->set_memory_bytes(uint64_t{static_cast<uint32_t>(mebibytes)} << 20);
      request.mutable_guest()->set_image(image);
      v1::Guest guest;
      Check("create", stub.CreateGuest(&context, request, &guest));
    }
  });
  std::printf("{\"count\": %d, \"seconds\": %.6f}\n", count, seconds);
}

void List(const std::string& socket, int page_size, int reps) {
  const auto stub = v1::Guests::NewStub(Connect(socket));
  std::vector<double> wholes, pages;
  int guests = 0;
  // The first round only warms up.
  for (int rep = 0; rep <= reps; ++rep) {
    v1::ListGuestsRequest request;
    request.set_page_size(page_size);
    guests = 0;
    const Clock::time_point start = Clock::now();
    do {
      grpc::ClientContext context;
      // As a program reads lists that cares for time.
      google::protobuf::Arena arena;
      auto* const response = google::protobuf::Arena::CreateMessage<v1::ListGuestsResponse>(&arena);
      const Clock::time_point page = Clock::now();
      Check("list", stub->ListGuests(&context, request, response));
      if (rep > 0) pages.push_back(SecondsSince(page));
      guests += response->guests_size();
      request.set_page_token(response->next_page_token());
    } while (!request.page_token().empty());
    if (rep > 0) wholes.push_back(SecondsSince(start));
  }
  std::printf("{\"guests\": %d, ", guests);
  PrintList("wholes", wholes, ", ");
  PrintList("pages", pages, "}\n");
}

void Plug(const std::string& socket, int clients, const std::string& joined, const std::vector<std::string>& guests) {
  std::vector<std::string> specs;
  for (size_t at = 0; at < joined.size();) {
    const size_t end = std::min(joined.find(';', at), joined.size());
    specs.push_back(joined.substr(at, end - at));
    at = end + 1;
  }
  const auto each = [&](const std::function<void(v1::Guests::Stub&, const std::string&, const std::string&)>& call) {
    return Clients(socket, clients, [&](int client, v1::Guests::Stub& stub) {
      for (const std::string& spec : specs) {
        for (size_t i = client; i < guests.size(); i += clients) call(stub, "guests/" + guests[i], spec);
      }
    });
  };
  const double in = each([](v1::Guests::Stub& stub, const std::string& guest, const std::string& spec) {
    grpc::ClientContext context;
    v1::PlugDeviceRequest request;
    request.set_guest(guest);
    request.set_spec(spec);
    v1::Device device;
    Check("plug", stub.PlugDevice(&context, request, &device));
  });
  const double out = each([](v1::Guests::Stub& stub, const std::string& guest, const std::string& spec) {
    grpc::ClientContext context;
    v1::UnplugDeviceRequest request;
    request.set_guest(guest);
    // "ubdbr=/srv/x" is a flag behind the unit's letter.
    request.set_device(spec.substr(0, 4));
    v1::UnplugDeviceResponse none;
    Check("unplug", stub.UnplugDevice(&context, request, &none));
  });
  std::printf("{\"count\": %zu, \"plug\": %.6f, \"unplug\": %.6f}\n", specs.size() * guests.size(), in, out);
}

void Read(const std::string& socket, const std::string& guest) {
  const auto stub = v1::Guests::NewStub(Connect(socket));
  std::atomic<bool> ended = false;
  std::thread input([&ended] {
    while (std::getchar() != EOF) continue;
    ended = true;
  });
  v1::GetGuestRequest request;
  request.set_name("guests/" + guest);
  std::vector<double> seconds;
  while (!ended) {
    grpc::ClientContext context;
    v1::Guest response;
    const Clock::time_point start = Clock::now();
    Check("get", stub->GetGuest(&context, request, &response));
    seconds.push_back(SecondsSince(start));
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  input.join();
  std::printf("{");
  PrintList("seconds", seconds, "}\n");
}

// One watcher: knows when its stream has begun, and when it saw the first event.
class Watcher final : public grpc::ClientReadReactor<v1::WatchResponse> {
 public:
  // How many have come so far, and when the last did.
  struct Progress {
    std::mutex mutex;
    std::condition_variable changed;
    int begun = 0;
    int ended = 0;
    std::vector<double> seen;
    Clock::time_point start;
  };

  Watcher(v1::Events::Stub* stub, const std::string& guest, Progress* progress) : progress_(progress) {
    request_.set_subject("guests/" + guest);
    stub->async()->Watch(&context_, &request_, this);
    StartRead(&response_);
    StartCall();
  }

  void Cancel() { context_.TryCancel(); }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    {
      const std::lock_guard lock(progress_->mutex);
      if (response_.snapshot_done()) ++progress_->begun;
      if (response_.has_event() && !std::exchange(seen_, true)) {
        progress_->seen.push_back(SecondsSince(progress_->start));
      }
      progress_->changed.notify_all();
    }
    StartRead(&response_);
  }
  void OnDone(const grpc::Status&) override {
    const std::lock_guard lock(progress_->mutex);
    ++progress_->ended;
    progress_->changed.notify_all();
  }

 private:
  Progress* progress_;
  grpc::ClientContext context_;
  v1::WatchRequest request_;
  v1::WatchResponse response_;
  bool seen_ = false;
};

void Watch(const std::string& socket, int count, const std::string& guest) {
  std::vector<std::unique_ptr<v1::Events::Stub>> stubs;
  std::vector<std::unique_ptr<Watcher>> watchers;
  Watcher::Progress progress;
  const auto await = [&progress](const char* what, const std::function<bool()>& reached) {
    std::unique_lock lock(progress.mutex);
    if (!progress.changed.wait_for(lock, std::chrono::seconds(30), reached)) Fail(std::string("in vain: ") + what);
  };
  const Clock::time_point begin = Clock::now();
  for (int i = 0; i < count; ++i) {
    if (i % kWatchersPerConnection == 0) stubs.push_back(v1::Events::NewStub(Connect(socket)));
    watchers.push_back(std::make_unique<Watcher>(stubs.back().get(), guest, &progress));
  }
  await("watchers begin", [&] { return progress.begun == count; });
  const double begun = SecondsSince(begin);

  const auto guests = v1::Guests::NewStub(Connect(socket));
  v1::UpdateGuestRequest update;
  update.mutable_guest()->set_name("guests/" + guest);
  update.mutable_guest()->set_description("watched by " + std::to_string(count));
  update.mutable_update_mask()->add_paths("description");
  {
    const std::lock_guard lock(progress.mutex);
    progress.start = Clock::now();
  }
  grpc::ClientContext context;
  v1::Guest response;
  Check("update", guests->UpdateGuest(&context, update, &response));
  await("watchers see the event", [&] { return static_cast<int>(progress.seen.size()) == count; });
  for (const std::unique_ptr<Watcher>& watcher : watchers) watcher->Cancel();
  await("watchers end", [&] { return progress.ended == count; });
  std::printf("{\"begun\": %.6f, ", begun);
  PrintList("seen", progress.seen, "}\n");
}

// Opens con0 with input and types a line; its echo comes from the guest's kernel. Negative: it does not come.
double Echo(v1::Consoles::Stub& stub, const std::string& guest) {
  const Clock::time_point start = Clock::now();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  const auto stream = stub.AttachConsole(&context);
  v1::AttachConsoleRequest request;
  request.mutable_open()->set_console("guests/" + guest + "/consoles/con0");
  stream->Write(request);
  request.set_input("are-you-there\r");
  stream->Write(request);
  std::string seen;
  v1::AttachConsoleResponse response;
  while (seen.find("are-you-there") == std::string::npos) {
    if (!stream->Read(&response)) {
      std::fprintf(stderr, "api_load: the console of %s: %s\n", guest.c_str(),
                   stream->Finish().error_message().c_str());
      return -1;
    }
    seen += response.output();
  }
  const double seconds = SecondsSince(start);
  context.TryCancel();
  stream->Finish();
  return seconds;
}

void Answer(const std::string& socket, const std::vector<std::string>& names) {
  const std::shared_ptr<grpc::Channel> channel = Connect(socket);
  const auto guests = v1::Guests::NewStub(channel);
  const auto consoles = v1::Consoles::NewStub(channel);
  std::vector<double> mconsole, console;
  std::string silent;
  for (const std::string& name : names) {
    grpc::ClientContext context;
    v1::SendMconsoleRequest request;
    request.set_guest("guests/" + name);
    request.set_command("version");
    v1::SendMconsoleResponse response;
    const Clock::time_point start = Clock::now();
    Check("mconsole", guests->SendMconsole(&context, request, &response));
    if (response.err() != 0 || response.text().find("Linux") == std::string::npos) Fail(name + ": " + response.text());
    mconsole.push_back(SecondsSince(start));
    if (const double seconds = Echo(*consoles, name); seconds >= 0) {
      console.push_back(seconds);
    } else {
      silent += (silent.empty() ? "\"" : ", \"") + name + "\"";
    }
  }
  std::printf("{\"silent\": [%s], ", silent.c_str());
  PrintList("mconsole", mconsole, ", ");
  PrintList("console", console, "}\n");
}

// Takes what a console prints, and how fast it came between the marks.
class Rounds {
 public:
  void Add(const std::string& output) {
    tail_ += output;
    if (inside_) bytes_ += output.size();
    if (const size_t at = tail_.find(kBegin); !inside_ && at != std::string::npos) {
      inside_ = true;
      start_ = Clock::now();
      bytes_ = tail_.size() - at;
      tail_.erase(0, at + kBegin.size());
    }
    if (const size_t at = tail_.find(kEnd); inside_ && at != std::string::npos) {
      inside_ = false;
      if (!std::exchange(spoilt_, false)) rates_.push_back(static_cast<double>(bytes_) / SecondsSince(start_));
      tail_.erase(0, at + kEnd.size());
    }
    if (tail_.size() > kBegin.size()) tail_.erase(0, tail_.size() - kBegin.size());
  }
  // The present one does not count.
  void Spoil() { spoilt_ = inside_; }
  bool inside() const { return inside_; }
  const std::vector<double>& rates() const { return rates_; }

 private:
  std::string tail_;
  bool inside_ = false, spoilt_ = false;
  size_t bytes_ = 0;
  Clock::time_point start_;
  std::vector<double> rates_;
};

void Console(const std::string& socket, const std::string& console, int seconds) {
  const auto stub = v1::Consoles::NewStub(Connect(socket));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(seconds));
  const auto stream = stub->AttachConsole(&context);
  v1::AttachConsoleRequest open;
  open.mutable_open()->set_console(console);
  open.mutable_open()->set_read_only(true);
  stream->Write(open);
  Rounds rounds;
  uint64_t lost = 0;
  v1::AttachConsoleResponse response;
  while (stream->Read(&response)) {
    lost += response.lost_bytes();
    rounds.Add(response.output());
  }
  stream->Finish();
  std::printf("{\"lost\": %llu, ", static_cast<unsigned long long>(lost));
  PrintList("rates", rounds.rates(), "}\n");
}

// A UML kernel that has filled its terminal may not notice that there is room again, until something is typed.
void Terminal(int seconds) {
  const Clock::time_point start = Clock::now();
  Rounds rounds;
  int silent = 0;
  std::string buffer(65536, 0);
  while (SecondsSince(start) < seconds) {
    pollfd input = {.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    if (poll(&input, 1, 100) == 0) {
      if (!rounds.inside()) continue;
      rounds.Spoil();
      ++silent;
      if (write(STDIN_FILENO, "\n", 1) != 1) Fail("cannot type");
      continue;
    }
    const ssize_t size = read(STDIN_FILENO, buffer.data(), buffer.size());
    if (size <= 0) Fail("the terminal has ended");
    rounds.Add(buffer.substr(0, size));
  }
  std::printf("{\"silent\": %d, ", silent);
  PrintList("rates", rounds.rates(), "}\n");
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const auto is = [&](const char* what, size_t least) { return words.size() >= least && words[1] == what; };
  const auto number = [&](size_t i) { return std::max(1, std::atoi(words[i].c_str())); };
  if (is("create", 6)) {
    Create(words[0], words[2], number(3), number(4), number(5), words.size() > 6 ? words[6] : "");
  } else if (is("list", 4)) {
    List(words[0], number(2), number(3));
  } else if (is("plug", 5)) {
    Plug(words[0], number(2), words[3], {words.begin() + 4, words.end()});
  } else if (is("read", 3)) {
    Read(words[0], words[2]);
  } else if (is("watch", 4)) {
    Watch(words[0], number(2), words[3]);
  } else if (is("answer", 3)) {
    Answer(words[0], {words.begin() + 2, words.end()});
  } else if (is("terminal", 3)) {
    Terminal(number(2));
  } else if (is("console", 4)) {
    Console(words[0], words[2], number(3));
  } else {
    std::fprintf(
        stderr,
        "usage: api_load SOCKET create|list|plug|read|watch|answer|console|terminal ...; see bench/api_load.cc\n");
    return 2;
  }
  return 0;
}
