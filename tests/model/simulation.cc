#include "model/simulation.h"

#include <algorithm>

#include "model/client.h"

namespace skerry::model {

Outcome simulate(const Options& options) {
  World world(options);
  const VolumeShape shape = choose_shape(world.dice);
  if (!shape.knows_generation && shape.options.consistency != meta::Consistency::kStrict) {
    world.lease_ns = shape.options.lease_ns;
  }
  OpContext ctx;
  ctx.clock = &world.server_clock;
  Status formatted = meta::format_volume(ctx, world.inspector, shape.format, world.server_clock);
  if (!formatted.ok()) world.fail("format: " + formatted.error().message());

  const unsigned count =
      std::min<unsigned>(options.max_clients, 2 + static_cast<unsigned>(world.dice.below(3)));
  const unsigned calls =
      std::min<unsigned>(options.max_calls, 20 + static_cast<unsigned>(world.dice.below(61)));
  std::vector<std::unique_ptr<Client>> clients;
  for (unsigned i = 0; i < count; ++i) {
    clients.push_back(std::make_unique<Client>(world, shape, static_cast<int>(i)));
    world.scheduler.add([client = clients.back().get(), calls] { client->run(calls); });
  }
  world.scheduler.run();
  if (world.scheduler.exhausted()) world.fail("too many steps: somebody does not get on");
  clients.clear();
  if (!world.failed()) check_final_state(world, shape);

  Outcome outcome;
  outcome.failure = world.failure();
  outcome.steps = world.scheduler.steps();
  outcome.planted = world.planted;
  outcome.fingerprint = world.dice.next() ^ (world.scheduler.steps() << 20) ^
                        static_cast<uint64_t>(world.scheduler.now());
  for (const std::string& line : world.trace_lines()) outcome.trace += line + "\n";
  return outcome;
}

}  // namespace skerry::model
