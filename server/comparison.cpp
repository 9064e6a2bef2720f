// See comparison.h.
#include "server/comparison.h"

#include "trainer/update/distance.h"
#include "trainer/update/tensor_pack.h"

namespace mh::server {

Result<scheduler::Distance> compare_updates(const BlobStore& blobs, const JobModel& model,
                                            const scheduler::Comparison& comparison) {
  const model::ModelPlan& plan = model.plan();
  MH_TRY(const MappedFile first, blobs.map(comparison.first_digest));
  MH_TRY(const MappedFile second, blobs.map(comparison.second_digest));
  MH_TRY(const update::PackView first_pack,
         update::view_pack(first.bytes(), update::PackKind::kGradientSum, plan.layout_digest,
                           plan.parameter_count));
  MH_TRY(const update::PackView second_pack,
         update::view_pack(second.bytes(), update::PackKind::kGradientSum, plan.layout_digest,
                           plan.parameter_count));
  MH_TRY(const update::UpdateDistance distance,
         update::measure_distance(first_pack.values(), second_pack.values(), plan.parameters));
  return scheduler::Distance{distance.relative_l2, distance.one_minus_cosine};
}

}  // namespace mh::server
