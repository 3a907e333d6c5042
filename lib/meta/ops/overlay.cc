#include "meta/ops/overlay.h"

#include <algorithm>
#include <queue>

namespace skerry::meta {

namespace {

struct Layer {
  const Extent* extent;
  uint64_t begin, end;  // clipped
  size_t order;         // the higher, the later
};

/// [begin, end) of the extent, as one of its own.
Extent cut(const Extent& extent, uint64_t begin, uint64_t end) {
  Extent piece = extent;
  piece.chunk_offset = begin;
  piece.length = end - begin;
  piece.slice_skip += begin - extent.chunk_offset;
  return piece;
}

/// Takes visible stretches in order of position; adjacent ones of one extent become one piece.
class Output {
 public:
  void add(const Layer& layer, uint64_t begin, uint64_t end) {
    if (layer.extent->object == 0) return;
    if (last_ == layer.extent && pieces_.back().chunk_offset + pieces_.back().length == begin) {
      pieces_.back().length += end - begin;
      return;
    }
    pieces_.push_back(cut(*layer.extent, begin, end));
    last_ = layer.extent;
  }
  std::vector<Extent> take() { return std::move(pieces_); }

 private:
  std::vector<Extent> pieces_;
  const Extent* last_ = nullptr;
};

/// A sweep over positions; the latest of the layers that cover the current one is visible.
std::vector<Extent> sweep(std::vector<Layer> layers) {
  std::sort(layers.begin(), layers.end(),
            [](const Layer& a, const Layer& b) { return a.begin < b.begin; });
  auto earlier = [](const Layer* a, const Layer* b) { return a->order < b->order; };
  std::priority_queue<const Layer*, std::vector<const Layer*>, decltype(earlier)> active(earlier);
  Output output;
  size_t next = 0;
  uint64_t position = 0;
  while (next < layers.size() || !active.empty()) {
    if (active.empty()) position = std::max(position, layers[next].begin);
    while (next < layers.size() && layers[next].begin <= position) active.push(&layers[next++]);
    while (!active.empty() && active.top()->end <= position) active.pop();
    if (active.empty()) continue;
    const Layer& top = *active.top();
    uint64_t end = top.end;
    if (next < layers.size()) end = std::min(end, layers[next].begin);
    output.add(top, position, end);
    position = end;
  }
  return output.take();
}

}  // namespace

std::vector<Extent> resolve_overlay(std::span<const ExtentRecord> records, uint64_t begin,
                                    uint64_t end) {
  std::vector<Layer> layers;
  bool in_sequence = true;
  for (const ExtentRecord& record : records) {
    for (const Extent& extent : record.extents) {
      const uint64_t from = std::max(begin, extent.chunk_offset);
      const uint64_t to = std::min(end, extent.chunk_offset + extent.length);
      if (from >= to) continue;
      if (!layers.empty() && from < layers.back().end) in_sequence = false;
      layers.push_back({&extent, from, to, layers.size()});
    }
  }
  if (!in_sequence) return sweep(std::move(layers));
  Output output;
  for (const Layer& layer : layers) output.add(layer, layer.begin, layer.end);
  return output.take();
}

}  // namespace skerry::meta
