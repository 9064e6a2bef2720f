// See client_state.h.
#include "client/daemon/client_state.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

namespace mh::client {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr std::uint64_t kStateBytesMax = 64 * 1024;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Status make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return fail(Errc::kInternal, "cannot make " + path.string() + ": " + error.message());
  if (::chmod(path.c_str(), 0700) != 0) return errno_error("cannot set the mode of", path, errno);
  return {};
}

}  // namespace

Result<ClientFolder> find_client_folder(const std::string& flag) {
  std::error_code error;
  std::string path = flag.empty() ? environment("MANYHANDS_CLIENT_DIR") : flag;
  if (path.empty()) {
    path = environment("XDG_DATA_HOME");
    if (path.empty() || path[0] != '/') {
      const std::string home = environment("HOME");
      if (home.empty())
        return fail(Errc::kFailedPrecondition,
                    "no folder for the client: HOME is not set; give --dir");
      path = home + "/.local/share";
    }
    path += "/manyhands-client";
  }
  return ClientFolder{fs::absolute(path, error).lexically_normal()};
}

Status make_client_folders(const ClientFolder& folder) {
  MH_TRY_VOID(make_folder(folder.root));
  MH_TRY_VOID(make_folder(folder.cache()));
  MH_TRY_VOID(make_folder(folder.work()));
  return make_folder(folder.out());
}

Result<ClientState> load_state(const ClientFolder& folder) {
  auto text = read_file(folder.state(), kStateBytesMax);
  if (!text.has_value()) {
    if (text.error().code == Errc::kNotFound)
      return fail(Errc::kNotFound, "not attached to a server (" + folder.root.string() +
                                       "): run manyhands-client attach with the line "
                                       "that its admin gave you");
    return text.error();
  }
  const Json json = Json::parse(*text, nullptr, false);
  const auto text_of = [&json](const char* key) {
    return json.is_object() && json.contains(key) && json[key].is_string()
               ? json[key].get<std::string>()
               : std::string();
  };
  ClientState state;
  state.server = text_of("server");
  state.fingerprint = text_of("fingerprint");
  state.authority_pem = text_of("authority");
  state.server_id = text_of("server_id");
  state.host_secret = text_of("host_secret");
  state.name = text_of("name");
  if (json.is_object() && json.contains("host_id") && json["host_id"].is_number_unsigned())
    state.host = HostId(json["host_id"].get<std::uint64_t>());
  state.is_paused = json.is_object() && json.contains("paused") && json["paused"] == true;
  if (state.server.empty() || state.host_secret.empty())
    return fail(Errc::kDataLoss,
                folder.state().string() +
                    " is damaged: run 'manyhands-client detach --force', then attach");
  return state;
}

Status save_state(const ClientFolder& folder, const ClientState& state) {
  const Json json = {{"server", state.server},
                     {"fingerprint", state.fingerprint},
                     {"authority", state.authority_pem},
                     {"server_id", state.server_id},
                     {"host_id", state.host.value()},
                     {"host_secret", state.host_secret},
                     {"name", state.name},
                     {"paused", state.is_paused}};
  // A machine's name or an authority's file may hold bytes that are no UTF-8.
  const std::string text = json.dump(2, ' ', false, Json::error_handler_t::replace);
  return write_file_atomically(folder.state(), text + "\n", 0600);
}

Result<UniqueFd> lock_folder(const ClientFolder& folder) {
  UniqueFd file(::open(folder.lock().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file.is_open()) return errno_error("cannot open", folder.lock(), errno);
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0)
    return fail(Errc::kAborted, "another manyhands-client is running in " + folder.root.string() +
                                    ": stop it, or give this one its own folder with --dir");
  return file;
}

}  // namespace mh::client
