"""Files of the source tree, built into the programs."""

def embedded_files(name, folder, function, srcs, visibility = None):
    """A cc_library with NAME.h, whose function returns the files. In the namespace umld.

    Args:
      name: of the library; NAME.h is there, NAME.cc is made.
      folder: in this package, where they are.
      function: what NAME.h declares: a std::vector<EmbeddedFile>.
      srcs: the files, under `folder`. What begins with #! is executable.
      visibility: as everywhere.
    """
    package = native.package_name()
    native.genrule(
        name = name + "_cc",
        srcs = [folder + "/" + src for src in srcs],
        outs = [name + ".cc"],
        cmd = """
          {
            echo '#include "%s/%s.h"'
            echo 'namespace umld {'
            echo 'std::vector<EmbeddedFile> %s() {'
            echo '  return {'
            for file in $(SRCS); do
              mode=0644
              case "$$(head -n 1 $$file)" in '#!'*) mode=0755 ;; esac
              printf '{"%%s", %%s, R"umld(' "$${file#%s/%s}" $$mode
              cat $$file
              echo ')umld"},'
            done
            echo '  };'
            echo '}'
            echo '}  // namespace umld'
          } > $@
        """ % (package, name, function, package, folder),
    )
    native.cc_library(
        name = name,
        srcs = [name + ".cc"],
        hdrs = [name + ".h"],
        visibility = visibility,
        deps = ["//base:embedded_file"],
    )
