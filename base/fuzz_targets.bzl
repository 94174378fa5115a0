"""What tools/fuzz builds with a fuzzer."""

def fuzz_targets(deps):
    """Compiles the package's fuzz/*_fuzz.cc, so that none is left behind when what it calls changes."""
    native.cc_library(
        name = "fuzz_targets",
        testonly = True,
        srcs = native.glob(["fuzz/*_fuzz.cc"]),
        linkstatic = True,
        deps = deps,
    )
