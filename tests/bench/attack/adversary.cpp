#include "tests/bench/attack/adversary.h"

#include <array>
#include <limits>
#include <string>
#include <utility>

#include "trainer/update/tensor_pack.h"

namespace mh::attack {
namespace {

// Streams of the random numbers.
constexpr std::uint64_t kNoisePurpose = 0x4E4F4953;
constexpr std::uint64_t kBitsPurpose = 0x42495453;
// Bits that bad memory turns over in one update.
constexpr std::size_t kFlippedBits = 10;
// Steps that a stale base lies behind.
constexpr std::uint64_t kStaleAge = 10;
constexpr double kGaussianSigma = 1;
// Shards between the one that was asked for and the one that is computed.
constexpr std::uint64_t kWrongShardOffset = 7;

std::uint64_t stream_of(const Errand& errand) { return errand.step * 100'000 + errand.shard; }

Result<Gradient> own(Adversary& adversary, const Errand& errand) {
  return adversary.insight().honest(errand.step, errand.shard);
}

// The vector in the place of the honest sum; loss and correct answers are those of honest work, as
// who wants to be believed would claim them.
Result<Gradient> disguised(Adversary& adversary, const Errand& errand, Vector sum) {
  MH_TRY(Gradient gradient, own(adversary, errand));
  gradient.sum = std::move(sum);
  return gradient;
}

double shard_samples(Adversary& adversary) {
  return static_cast<double>(adversary.insight().shape().shard);
}

Result<Gradient> sign_flip(Adversary& adversary, const Errand& errand) {
  MH_TRY(Gradient gradient, own(adversary, errand));
  gradient.sum = scaled(gradient.sum, -1);
  return gradient;
}

// All attackers of a step send the same: `find` makes it of the honest means.
template <class Find>
Result<Gradient> colluding(Adversary& adversary, const Errand& errand, Find find) {
  const Vector* vector = adversary.shared(errand.step);
  if (vector == nullptr) {
    MH_TRY(const std::vector<Vector> honest, adversary.insight().honest_means(errand.step));
    vector = &adversary.share(errand.step, find(Vectors(honest)));
  }
  return disguised(adversary, errand, scaled(*vector, shard_samples(adversary)));
}

template <int kTenths>
Result<Gradient> inner_product(Adversary& adversary, const Errand& errand) {
  return colluding(adversary, errand,
                   [](Vectors honest) { return inner_product_attack(honest, kTenths / 10.0); });
}

Result<Gradient> little(Adversary& adversary, const Errand& errand) {
  const Insight& insight = adversary.insight();
  const double z = little_is_enough_z_max(insight.host_count(), insight.attacker_count());
  return colluding(adversary, errand, [z](Vectors honest) { return little_is_enough(honest, z); });
}

template <Vector (*kShape)(Vectors, double)>
Result<Gradient> optimised(Adversary& adversary, const Errand& errand) {
  const Insight& insight = adversary.insight();
  return colluding(adversary, errand, [&insight](Vectors honest) {
    const double tau =
        line_search([&](double tried) { return insight.damage(honest, kShape(honest, tried)); });
    return kShape(honest, tau);
  });
}

// The gradient of one and the same shard, whatever is asked for.
Result<Gradient> mimic(Adversary& adversary, const Errand& errand) {
  return adversary.insight().honest(errand.step, 0);
}

Result<Gradient> gaussian_noise(Adversary& adversary, const Errand& errand) {
  const std::uint64_t key = derive_key(adversary.seed(), kNoisePurpose, errand.attacker);
  return disguised(adversary, errand,
                   gaussian(adversary.insight().size(), kGaussianSigma * shard_samples(adversary),
                            key, stream_of(errand)));
}

template <int kWhich>
Result<Gradient> absurd(Adversary& adversary, const Errand& errand) {
  constexpr std::array kValues = {std::numeric_limits<float>::quiet_NaN(),
                                  std::numeric_limits<float>::infinity(), 1e38F};
  return disguised(adversary, errand, Vector(adversary.insight().size(), kValues[kWhich]));
}

Result<Gradient> label_flip(Adversary& adversary, const Errand& errand) {
  return adversary.insight().flipped(errand.step, errand.shard);
}

Result<Gradient> zero(Adversary& adversary, const Errand& errand) {
  return disguised(adversary, errand, Vector(adversary.insight().size()));
}

// The attacker's first honest gradient, which it computes when it has none.
Result<const Gradient*> kept(Adversary& adversary, const Errand& errand) {
  const auto found = adversary.kept().find(errand.attacker);
  if (found != adversary.kept().end()) return &found->second;
  MH_TRY(Gradient gradient, own(adversary, errand));
  return &adversary.kept().emplace(errand.attacker, std::move(gradient)).first->second;
}

Result<Gradient> stale_replay(Adversary& adversary, const Errand& errand) {
  MH_TRY(const Gradient* first, kept(adversary, errand));
  return *first;
}

// Noise as long as an honest gradient.
Result<Gradient> plausible_noise(Adversary& adversary, const Errand& errand) {
  MH_TRY(const Gradient* first, kept(adversary, errand));
  const std::uint64_t key = derive_key(adversary.seed(), kNoisePurpose, errand.attacker);
  Gradient made = *first;
  const Vector noise = gaussian(made.sum.size(), 1, key, stream_of(errand));
  made.sum = scaled(noise, update::l2_norm(first->sum) / update::l2_norm(noise));
  return made;
}

// What the server published last, as the difference of two parameters shows it.
Result<Gradient> averaged(Adversary& adversary, const Errand& errand) {
  const Vector& mean = adversary.insight().last_mean();
  if (mean.empty()) return own(adversary, errand);
  return disguised(adversary, errand, scaled(mean, shard_samples(adversary)));
}

Result<Gradient> wrong_shard(Adversary& adversary, const Errand& errand) {
  const std::uint64_t shards = scheduler::workunits_per_step(adversary.insight().shape());
  return adversary.insight().honest(errand.step, (errand.shard + kWrongShardOffset) % shards);
}

Result<Gradient> stale_base(Adversary& adversary, const Errand& errand) {
  return adversary.insight().stale(errand.step, errand.shard, kStaleAge);
}

Result<Gradient> bit_flips(Adversary& adversary, const Errand& errand) {
  MH_TRY(Gradient gradient, own(adversary, errand));
  const std::uint64_t key = derive_key(adversary.seed(), kBitsPurpose, errand.attacker);
  gradient.sum = with_flipped_bits(std::move(gradient.sum), kFlippedBits, key, stream_of(errand));
  return gradient;
}

Result<Gradient> inflated(Adversary& adversary, const Errand& errand) {
  MH_TRY(Gradient gradient, own(adversary, errand));
  gradient.loss_sum = 0;
  gradient.correct_count = adversary.insight().shape().shard;
  return gradient;
}

constexpr double kQuick = 0.05;

constexpr auto kTable = std::to_array<AttackKind>({
    {"none", "everybody is honest", own},
    {"sign_flip", "-1 × its own gradient", sign_flip},
    {"ipm_0.5", "-0.5 × the mean of the honest gradients", inner_product<5>},
    {"ipm_10", "-10 × the mean of the honest gradients", inner_product<100>},
    {"ipm_opt", "-tau × the mean, with the tau that moves the aggregate most",
     optimised<inner_product_attack>},
    {"alie", "mean + z_max × standard deviation of the honest gradients", little},
    {"alie_opt", "mean + tau × standard deviation, with the tau that moves the aggregate most",
     optimised<little_is_enough>},
    {"mimic", "the honest gradient of the step's first shard, whatever was asked for", mimic},
    {"gaussian", "N(0, 1) a sample and parameter", gaussian_noise, kQuick},
    {"nan", "NaN everywhere", absurd<0>, kQuick},
    {"inf", "infinity everywhere", absurd<1>, kQuick},
    {"1e38", "1e38 everywhere", absurd<2>, kQuick},
    {"label_flip", "the gradient for class 9 - y", label_flip},
    {"zero", "computes nothing, sends zeros", zero, kQuick},
    {"stale_replay", "computes once, sends that for ever", stale_replay, kQuick},
    {"noise", "computes nothing, sends noise as long as a gradient", plausible_noise, kQuick},
    {"averaged", "computes nothing, sends the last step's mean", averaged, kQuick},
    {"wrong_shard", "the gradient of another shard", wrong_shard},
    {"stale_base", "the gradient at the parameters of ten steps before", stale_base},
    {"bit_flips", "ten bits of the update turned over, as bad memory does", bit_flips},
    {"inflated", "an honest gradient, a claimed loss of 0 and all answers correct", inflated},
    {"sybils", "sign flip, and back under a new name 10 steps after it was found out", sign_flip, 1,
     0, 1, 10},
    {"sleeper", "honest for 50 results, then sign flip", sign_flip, 1, 50},
    {"sleeper_ipm", "honest for 50 results, then -7.5 × the mean: below what stands out",
     inner_product<75>, 1, 50},
    {"occasional", "honest for 20 results, then one in ten made up: the last step's mean", averaged,
     kQuick, 20, 10},
});

}  // namespace

std::span<const AttackKind> attack_table() { return kTable; }

Result<const AttackKind*> attack_named(std::string_view name) {
  std::string known;
  for (const AttackKind& kind : kTable) {
    if (kind.name == name) return &kind;
    known += (known.empty() ? "" : ", ") + std::string(kind.name);
  }
  return fail(Errc::kInvalidArgument,
              "there is no attack '" + std::string(name) + "': there are " + known);
}

bool is_honest(const AttackKind& kind, const Errand& errand) {
  return errand.handed_in < kind.honest_first ||
         (errand.handed_in - kind.honest_first) % kind.every != 0;
}

Result<Gradient> Adversary::make(const Errand& errand) {
  return is_honest(kind_, errand) ? own(*this, errand) : kind_.make(*this, errand);
}

const Vector* Adversary::shared(std::uint64_t step) const {
  return shared_.empty() || shared_step_ != step ? nullptr : &shared_;
}

const Vector& Adversary::share(std::uint64_t step, Vector vector) {
  shared_step_ = step;
  shared_ = std::move(vector);
  return shared_;
}

}  // namespace mh::attack
