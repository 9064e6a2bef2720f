// See comparison.h.
#include "server/comparison.h"

#include "server/mapped_update.h"
#include "trainer/update/distance.h"

namespace mh::server {

Result<scheduler::Distance> compare_updates(const BlobStore& blobs, const JobModel& model,
                                            const scheduler::Comparison& comparison) {
  MH_TRY(const MappedUpdate first,
         map_update(blobs, model, comparison.first_digest, comparison.step));
  MH_TRY(const MappedUpdate second,
         map_update(blobs, model, comparison.second_digest, comparison.step));
  MH_TRY(const update::UpdateDistance distance,
         update::measure_distance(first.values, second.values, model.plan().parameters));
  return scheduler::Distance{distance.relative_l2, distance.one_minus_cosine};
}

}  // namespace mh::server
