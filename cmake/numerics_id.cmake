# cmake -DSETTINGS=TEXT -DSOURCE_DIR=DIR -DLIST=FILE -DOUT=FILE.cc -P numerics_id.cmake
#   Writes OUT, which defines retort::NumericsId(): a hash of SETTINGS and of the files that LIST names relative to
#   SOURCE_DIR.
file(READ ${LIST} sources)
set(hashes "${SETTINGS}\n")
foreach(source IN LISTS sources)
  file(SHA256 ${SOURCE_DIR}/${source} hash)
  string(APPEND hashes "${source} ${hash}\n")
endforeach()
string(SHA256 id "${hashes}")
string(SUBSTRING ${id} 0 12 id)
file(WRITE ${OUT} "#include \"worker/run/numerics_id.h\"\n
namespace retort {\n
const char* NumericsId() { return \"${id}\"; }\n
}  // namespace retort\n")
