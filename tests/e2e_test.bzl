"""The tests of this folder: alike but for their names."""

def e2e_test(name, size = "medium", deps = [], tags = [], data = []):
    """A gtest NAME.cc that runs the real programs.

    Args:
      name: of the test and, with .cc, of its source.
      size: medium ends within five minutes, large within fifteen.
      deps: what it needs beside the harness.
      data: programs it runs beside umld's.
      tags: "soak" for what `./check --long` alone runs.
    """
    native.cc_test(
        name = name,
        size = size,
        srcs = [name + ".cc"],
        data = [
            "//umlctl",
            "//umld",
            "//vmcore",
        ] + data,
        # Guests take processors and memory, so one at a time; and a sandbox is no place for mounts and namespaces.
        tags = [
            "exclusive",
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
