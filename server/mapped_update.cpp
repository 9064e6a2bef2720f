// See mapped_update.h.
#include "server/mapped_update.h"

#include "trainer/update/tensor_pack.h"

namespace mh::server {

Result<MappedUpdate> map_update(const BlobStore& blobs, const JobModel& model, const Digest& digest,
                                std::uint64_t step) {
  MH_TRY(MappedFile file, blobs.map(digest));
  MH_TRY(const update::PackView pack,
         update::view_pack(file.bytes(), update::PackKind::kGradientSum, model.plan().layout_digest,
                           model.plan().parameter_count));
  if (pack.header.step != step) {
    return fail(Errc::kDataLoss, "update " + digest.hex() + " is of step " +
                                     std::to_string(pack.header.step) + ", expected " +
                                     std::to_string(step));
  }
  return MappedUpdate{std::move(file), pack.values()};
}

}  // namespace mh::server
