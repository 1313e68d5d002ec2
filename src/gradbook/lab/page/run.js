// To be written.

export function show(container) {
  container.append("run");
}
