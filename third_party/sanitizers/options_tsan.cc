// The thread sanitizer's options, in the programs themselves: what tests start has an environment of its own.

// A race ends the program that has it, and so its test. Tests fork while the loop's thread runs, and then exec.
// NOLINTNEXTLINE(bugprone-reserved-identifier)
extern "C" const char* __tsan_default_options() { return "halt_on_error=1:second_deadlock_stack=1:die_after_fork=0"; }

// gRPC is not built with the sanitizer: what happens inside it (reference counts of its own, and objects handed from
// one of its threads to another by them) is not seen.
// NOLINTNEXTLINE(bugprone-reserved-identifier)
extern "C" const char* __tsan_default_suppressions() {
  return "called_from_lib:libgrpc.so\n"
         "called_from_lib:libgrpc++.so\n"
         "race:grpc::\n"
         "race:libgrpc\n";
}
