// api_plug SOCKET GUEST SPEC COUNT: plugs and unplugs COUNT times over one gRPC connection, as a program that stays
// connected does, and prints for each round the seconds that the plug and the unplug took.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "umld/v1/services.grpc.pb.h"

namespace {

namespace v1 = umld::v1;

// Seconds that `call` took; ends the program when it failed.
template <typename Call>
double Timed(const char* what, Call call) {
  grpc::ClientContext context;
  const auto start = std::chrono::steady_clock::now();
  const grpc::Status status = call(&context);
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  if (!status.ok()) {
    std::fprintf(stderr, "error: api_plug: %s: %s\n", what, status.error_message().c_str());
    std::exit(1);
  }
  return taken.count();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: api_plug SOCKET GUEST SPEC COUNT\n");
    return 2;
  }
  const std::string spec = argv[3];
  const auto stub =
      v1::Guests::NewStub(grpc::CreateChannel(std::string("unix:") + argv[1], grpc::InsecureChannelCredentials()));

  v1::GetGuestRequest get;
  get.set_name(std::string("guests/") + argv[2]);
  v1::Guest guest;
  Timed("connect", [&](auto* context) { return stub->GetGuest(context, get, &guest); });

  v1::PlugDeviceRequest plug;
  plug.set_guest(get.name());
  plug.set_spec(spec);
  v1::UnplugDeviceRequest unplug;
  unplug.set_guest(get.name());
  unplug.set_device(spec.substr(0, spec.find('=')));
  for (int round = 0; round < std::atoi(argv[4]); ++round) {
    v1::Device device;
    v1::UnplugDeviceResponse none;
    const double in = Timed("plug", [&](auto* context) { return stub->PlugDevice(context, plug, &device); });
    const double out = Timed("unplug", [&](auto* context) { return stub->UnplugDevice(context, unplug, &none); });
    std::printf("%.6f %.6f\n", in, out);
  }
  return 0;
}
