fetch("../planets")
  .then((answer) => answer.json())
  .then((planets) => {
    for (const planet of planets) {
      const item = document.createElement("li");
      item.textContent = `${planet.name}: ${planet.radius_km} km, ${planet.moons} moons`;
      document.getElementById("planets").append(item);
    }
  });
