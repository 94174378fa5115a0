"""Files of an image, built into the programs."""

def guest_files(name, folder, function, srcs, visibility = None):
    """A cc_library with NAME.h, whose function returns the files.

    Args:
      name: of the library; NAME.h is there, NAME.cc is made.
      folder: where they are, as they will be in the image.
      function: what NAME.h declares: a std::vector<GuestFile>.
      srcs: the files, under `folder`. What begins with #! is executable.
      visibility: as everywhere.
    """
    native.genrule(
        name = name + "_cc",
        srcs = [folder + "/" + src for src in srcs],
        outs = [name + ".cc"],
        cmd = """
          {
            echo '#include "guest/%s.h"'
            echo 'namespace umld::guest {'
            echo 'std::vector<GuestFile> %s() {'
            echo '  return {'
            for file in $(SRCS); do
              mode=0644
              case "$$(head -n 1 $$file)" in '#!'*) mode=0755 ;; esac
              printf '{"%%s", %%s, R"umld(' "$${file#guest/%s}" $$mode
              cat $$file
              echo ')umld"},'
            done
            echo '  };'
            echo '}'
            echo '}  // namespace umld::guest'
          } > $@
        """ % (name, function, folder),
    )
    native.cc_library(
        name = name,
        srcs = [name + ".cc"],
        hdrs = [name + ".h"],
        visibility = visibility,
        deps = [":guest_file"],
    )
