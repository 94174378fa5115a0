// The thread sanitizer's options, in the programs themselves: what tests start has an environment of its own.

// A race ends the program that has it, and so its test. Tests fork while the loop's thread runs, and then exec.
// NOLINTNEXTLINE(bugprone-reserved-identifier)
extern "C" const char* __tsan_default_options() { return "halt_on_error=1:second_deadlock_stack=1:die_after_fork=0"; }

// gRPC and Abseil are not built with the sanitizer: what happens inside them (reference counts of their own, and
// objects handed from one of gRPC's threads to another by them, a Status among them) is not seen.
// NOLINTNEXTLINE(bugprone-reserved-identifier)
extern "C" const char* __tsan_default_suppressions() {
  return "called_from_lib:libgrpc.so\n"
         "called_from_lib:libgrpc++.so\n"
         "called_from_lib:libabsl_status.so\n"
         "called_from_lib:libabsl_graphcycles_internal.so\n"
         "race:grpc::\n"
         "race:libgrpc\n";
}
