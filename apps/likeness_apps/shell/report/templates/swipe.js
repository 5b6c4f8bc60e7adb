const cut = document.getElementById("cut");
const above = document.getElementById("above");
const edge = document.getElementById("edge");
const draw = () => {
  above.style.clipPath = `inset(0 ${100 - cut.value}% 0 0)`;
  edge.style.left = `${cut.value}%`;
};
const stack = above.parentElement;
const follow = (event) => {
  if (event.buttons !== 1 && event.type !== "pointerdown") return;
  const box = stack.getBoundingClientRect();
  cut.value = (100 * (event.clientX - box.left)) / box.width;
  draw();
};
cut.addEventListener("input", draw);
stack.addEventListener("pointerdown", follow);
stack.addEventListener("pointermove", follow);
draw();
