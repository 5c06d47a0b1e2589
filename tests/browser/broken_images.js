// The pictures of the page that do not show, by address; those below the fold are made to load first.
Promise.all([...document.images].map(async (image) => {
  image.loading = "eager";
  await image.decode().catch(() => {});
  return image.naturalWidth > 0 ? [] : [image.getAttribute("src")];
})).then((broken) => ({ images: document.images.length, broken: broken.flat() }));
