// Banner that tells an open app's visitors of a planned maintenance. The words and the windows come with it.
(()=>{
const told=BANNER,doc=document,me=doc.currentScript,
name=w=>'backsoon-banner '+w.id+' '+w.starts,
kept=w=>{try{return sessionStorage.getItem(name(w))}catch{}},
add=(to,tag,set)=>to.appendChild(Object.assign(doc.createElement(tag),set)),
{lang,dir,announced}=told,next=announced.find(w=>Date.parse(w.ends)>Date.now()&&!kept(w)),
show=()=>{
if(!next||doc.querySelector('backsoon-banner'))return;
const from=new Date(next.starts),to=new Date(next.ends),
clock={hour:'2-digit',minute:'2-digit',hourCycle:'h23'},day={weekday:'short',day:'numeric',month:'short'},
write=(t,o)=>{for(const l of[lang=='en'?'en-GB':lang,[]])try{return t.toLocaleString(l,o)}catch{}},
starts=write(from,{...day,...clock}),
ends=write(to,{...(from.toDateString()==to.toDateString()?{}:day),...clock,timeZoneName:'short'}),
host=add(doc.body,'backsoon-banner'),root=host.attachShadow({mode:'open'}),
box=add(root,'div',{lang,dir}),text=add(box,'p'),css=`
:host{all:initial;display:block;position:fixed;inset:auto 0 0;z-index:2147483647}
div{display:flex;flex-wrap:wrap;align-items:center;justify-content:center;gap:.4em 1em;padding:.6em 1em;
font:15px/1.45 system-ui,sans-serif;color:#221c0d;background:#fdf3d6;border-top:2px solid #a86a00}
p{margin:0}b{margin:0 .3em}a{color:inherit}
button{font:inherit;color:inherit;background:none;border:1px solid;border-radius:4px;padding:.25em .8em;cursor:pointer}
:focus-visible{outline:3px solid #a86a00;outline-offset:2px}
@media(prefers-color-scheme:dark){div{color:#f6ecd2;background:#2c2512;border-color:#d9a441}}
@media print{:host{display:none}}`;
try{const sheet=new CSSStyleSheet();sheet.replaceSync(css);root.adoptedStyleSheets=[sheet]}
catch{add(root,'style',{textContent:css})}
add(box,'a',{href:new URL(next.url,me?me.src:doc.baseURI),textContent:told.status});
add(box,'button',{type:'button',textContent:told.dismiss,onclick(){try{sessionStorage.setItem(name(next),1)}catch{}host.remove()}});
text.setAttribute('role','status');
// Readers speak what is put into the region after it has come.
setTimeout(()=>{if(next.title)add(text,'b',{textContent:next.title,dir:'auto'});
text.append(' ',told.words.replace('{starts}',starts).replace('{ends}',ends))},50)};
doc.body?show():doc.addEventListener('DOMContentLoaded',show)
})();
