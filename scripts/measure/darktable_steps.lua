-- Run inside darktable: import a folder, change keywords, write what darktable shows to a file as lines "name<TAB>keyword;keyword".
-- COCOTAG_FOLDER: the folder; without it the library is used as it is. COCOTAG_SHOWN: the file.
-- COCOTAG_ATTACH, COCOTAG_DETACH: keywords, separated by commas. COCOTAG_RATING: a number of stars.
local darktable = require "darktable"

local function listed(name)
  local found = {}
  for word in string.gmatch(os.getenv(name) or "", "[^,]+") do table.insert(found, word) end
  return found
end

local function keywords(image)
  local found = {}
  for _, tag in ipairs(darktable.tags.get_tags(image)) do
    if not string.find(tag.name, "^darktable|") then table.insert(found, tag.name) end
  end
  table.sort(found)
  return table.concat(found, ";")
end

local function change(image)
  for _, word in ipairs(listed("COCOTAG_DETACH")) do
    for _, tag in ipairs(darktable.tags.get_tags(image)) do
      if tag.name == word then darktable.tags.detach(tag, image) end
    end
  end
  for _, word in ipairs(listed("COCOTAG_ATTACH")) do darktable.tags.attach(darktable.tags.create(word), image) end
  if os.getenv("COCOTAG_RATING") then image.rating = tonumber(os.getenv("COCOTAG_RATING")) end
end

darktable.control.dispatch(function()
  if os.getenv("COCOTAG_FOLDER") then
    darktable.database.import(os.getenv("COCOTAG_FOLDER"))
    darktable.control.sleep(tonumber(os.getenv("COCOTAG_WAIT") or "8000")) -- it imports in the background
  end
  for _, image in ipairs(darktable.database) do change(image) end
  darktable.control.sleep(3000) -- it writes sidecars in the background
  local file = io.open(os.getenv("COCOTAG_SHOWN"), "w")
  for _, image in ipairs(darktable.database) do file:write(image.filename .. "\t" .. keywords(image) .. "\n") end
  file:write("end\n")
  file:close()
end)
