"""The tests of this folder: alike but for their names."""

def e2e_test(name, size = "medium", deps = [], tags = [], data = [], env = {}, source = None):
    """A gtest NAME.cc that runs the real programs.

    Args:
      name: of the test and, with .cc, of its source.
      source: that instead.
      env: in its environment.
      size: medium ends within five minutes, large within fifteen, on a host that has time for it; for the sake of slow
        ones they are ended after fifteen and after sixty.
      deps: what it needs beside the harness.
      data: programs it runs beside umld's.
      tags: "soak" for what `./check --long` alone runs; "exclusive" for what measures time or counts what the host has.
    """
    native.cc_test(
        name = name,
        size = size,
        timeout = "long" if size == "medium" else "eternal",
        srcs = [source or name + ".cc"],
        env = env,
        data = [
            "//umlctl",
            "//umld",
            "//vmcore",
        ] + data,
        # A sandbox is no place for mounts and namespaces. As many at a time as there are processors: each has an umld, and
        # folders, of its own.
        tags = [
            "guests",
            "local",
        ] + tags,
        deps = [
            ":command",
            ":guest_login",
            ":host",
            ":leftovers",
            "//third_party:absl",
            "//third_party:gtest_main",
        ] + deps,
    )
